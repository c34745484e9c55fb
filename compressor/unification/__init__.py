"""Weight unification: blocks of weights that share one absolute value, and how such weights are stored.

Layouts, projections and packing work on numpy arrays and on tensors of torch alike, and import no torch.
"""
