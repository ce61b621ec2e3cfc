"""The fetch stage: get the data set, or note that the user brings it."""
