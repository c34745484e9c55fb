"""Outputs that are held against each other: how near they have to be, and what came of it."""
