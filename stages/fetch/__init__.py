"""The fetch stage: download the data set, or record the user's own folder."""
