"""The steps that commands share: open and account, score, cut and prove, recover, hold against gates."""
