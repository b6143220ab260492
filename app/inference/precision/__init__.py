"""Convert a model to another precision with ONNX Runtime's tools in a child process with resource
limits, and cache the result."""
