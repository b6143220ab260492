"""Serve a language model over the OpenAI API, with the metrics of vLLM."""
