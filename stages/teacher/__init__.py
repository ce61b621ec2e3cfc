"""Train or load the teacher whose soft labels are distilled into every device's network."""
