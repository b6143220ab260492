"""`python -m app.serving MODEL`: serve a model.

When ready, it writes an EndpointReady as one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from app.inference.child import reported
from app.serving.arguments import add_serving_arguments, settings_of
from app.serving.server import run
from app.serving.settings import EndpointReady
from loadgen.machine import raise_limit


def main() -> None:
    raise_limit()
    parser = argparse.ArgumentParser(prog="python -m app.serving", description="Serve an ONNX model.")
    add_serving_arguments(parser)
    run(settings_of(parser.parse_args()), _announce)


def _announce(ready: EndpointReady) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(reported(main))
