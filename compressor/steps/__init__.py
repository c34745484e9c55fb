"""The steps that commands share: open and account, score, hold against gates; what one of them does alone."""
