"""Step times of a language model on servers that nobody measured, from a model that is fitted to published
measurements."""
