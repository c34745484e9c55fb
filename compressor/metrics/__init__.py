"""What a model is judged by: built-in metrics by name, and functions of the user's."""
