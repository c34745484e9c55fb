"""The parts of a pruning run, in the order of `commands/prune.py`: what is given, the start, steps, recovery, the report."""
