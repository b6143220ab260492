"""Converts a model to another precision in a limited child process with ONNX Runtime's own tools, and caches it."""
