"""Train the space's largest network, whose soft labels every device's network learns from."""
