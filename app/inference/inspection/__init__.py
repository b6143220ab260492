"""Inspect the contents of a model file and the cost of an inference in a child process with
resource limits, which never runs the model."""
