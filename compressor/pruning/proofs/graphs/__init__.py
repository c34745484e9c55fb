"""Graphs that are held against each other without a run: weights, constants, settings, wiring, inputs and outputs."""
