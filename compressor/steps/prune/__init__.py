"""The parts of a pruning run, in the order of `commands/prune.py`: what is settled, the steps, recovery, the report."""
