"""The archive: which files there are, what they say, and their values."""
