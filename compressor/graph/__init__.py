"""The model in memory: reading and writing it safely, and bringing it into one normal form."""
