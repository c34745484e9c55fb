"""Masks over single weights of convolutions: who makes them, how what is kept is fitted, and how zeros become time."""
