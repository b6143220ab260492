"""Language models in the format of ONNX Runtime GenAI: folders, decoders with random weights, and
generation."""
