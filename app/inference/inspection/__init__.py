"""Inspects the contents of a model file and the cost of an inference, in a limited child process
that never runs the model."""
