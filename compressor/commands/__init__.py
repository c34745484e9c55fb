"""One file a command: the whole flow of one run on a page."""
