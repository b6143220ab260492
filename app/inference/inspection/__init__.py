"""Contents of a model file and the cost of an inference, determined by a limited child process that never runs it."""
