"""Images that belong together: near-duplicates, and images of one part, person or video."""
