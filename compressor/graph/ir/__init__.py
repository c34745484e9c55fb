"""Nodes, values and opsets of a model in memory: questions about them, and the small change of editing."""
