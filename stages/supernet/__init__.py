"""Train one weight-sharing supernet over the whole search space."""
