"""Rows from a user's files, which are not trusted: they may be of any size, shape and content."""
