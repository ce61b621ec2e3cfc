"""Stage `bundle`: all files that one device needs, in one verifiable archive."""
