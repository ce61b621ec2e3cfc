"""Stage `release`: the index of all bundles, and the picture of what they trade."""
