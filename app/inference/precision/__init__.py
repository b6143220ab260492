"""Converts a model to another precision with ONNX Runtime's tools in a limited child process, and
caches the result."""
