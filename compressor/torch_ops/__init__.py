"""What each operator computes, in torch: one file a family, gathered in :mod:`compressor.torch_ops.table`."""
