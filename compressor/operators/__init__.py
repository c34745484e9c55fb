"""Operators: one record each, one file a family."""
