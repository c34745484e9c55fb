"""Other parameters for the same function while training, merged exactly afterwards: norms, products, averages."""
