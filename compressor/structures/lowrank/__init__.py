"""Linear layers as two thinner ones: at which rank, with which factors, and how the graph holds them."""
