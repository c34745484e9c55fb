"""Ways into the tools that other people run; each needs that tool, and nothing else here imports it."""
