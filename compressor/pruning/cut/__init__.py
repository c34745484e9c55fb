"""From a coupled model to a smaller one: what may go, the one knife, and what it did to earlier names."""
