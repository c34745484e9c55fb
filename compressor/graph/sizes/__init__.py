"""Shapes, whole numbers and symbolic sizes: what a graph says about them, and sizes that it can run at."""
