"""Train one device's network from its supernet slice, distilled from the teacher."""
