"""llama.cpp's own OpenAI-compatible server with a model; prints its address and leaves with its standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp
from tiny_llama import CONTEXT, write_tiny_llama

PARALLEL = 4


def main(path: Path) -> None:
    """Serve a GGUF file, which is a tiny one if it does not exist."""
    if not path.exists():
        write_tiny_llama(path)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = PARALLEL * CONTEXT
    parameters.n_parallel = PARALLEL
    parameters.port = 0
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
