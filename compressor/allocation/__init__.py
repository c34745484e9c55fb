"""How much every group of channels loses, by what its loss does to the outputs: measured once, for every budget."""
