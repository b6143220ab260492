"""Load input rows from a user's files. The files are untrusted: they may have any size, shape and
content."""
