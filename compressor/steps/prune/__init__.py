"""The parts of a pruning run, in the order of `commands/prune.py`: given, start, steps, recovery, the report."""
