"""One layer: its sizes, what may become of it, and what judges that."""
