"""Rows from a user's files, which are untrusted: they may have any size, shape and content."""
