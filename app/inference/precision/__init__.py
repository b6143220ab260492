"""A model made again in another precision, by a limited child process with ONNX Runtime's own tools, and kept."""
