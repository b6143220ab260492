"""Serve a model: `python -m app.serving MODEL`.

When the endpoint is ready, it writes an EndpointReady as one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from app.inference.child import run_reporting_errors
from app.serving.arguments import add_serving_arguments, parse_settings
from app.serving.server import run
from app.serving.settings import EndpointReady
from loadgen.machine import raise_descriptor_limit


def main() -> None:
    raise_descriptor_limit()
    parser = argparse.ArgumentParser(prog="python -m app.serving", description="Serve an ONNX model.")
    add_serving_arguments(parser)
    run(parse_settings(parser.parse_args()), _announce)


def _announce(ready: EndpointReady) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
