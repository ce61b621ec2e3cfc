"""Summary, report and provenance of a release."""
