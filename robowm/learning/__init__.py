"""One training loop for every world model and behaviour, its checkpoints and its schedule."""
