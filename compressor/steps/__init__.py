"""The steps that commands share: open and count, report, score, hold against gates; what one of them does alone."""
