"""How much goes: what units and widths cost, what meets an amount that was asked for, and which units those are."""
