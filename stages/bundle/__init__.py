"""Stage `bundle`: everything one device needs, in one verifiable archive."""
