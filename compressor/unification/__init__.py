"""Weight unification: blocks of weights that share one absolute value, and how such weights are stored.

What imports torch here says so by its name; layouts, projections and packing work on numpy arrays without it.
"""
