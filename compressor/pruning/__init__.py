"""Pruning: scores, budgets, the knife and the proof."""
