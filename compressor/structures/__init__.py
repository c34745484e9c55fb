"""Structures below the channel: what single layers become, chosen from one budget, fitted, written and proved."""
