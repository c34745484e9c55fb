"""Results as text, HTML and charts."""
