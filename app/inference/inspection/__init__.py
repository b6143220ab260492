"""What a model file holds and what an inference costs by it, told by a limited child process that never runs it."""
