"""Serve a model: `python -m app.serving MODEL`.

When the endpoint is ready, it writes an EndpointReady as one line of JSON to standard output.
"""

from __future__ import annotations

import sys

import click
import msgspec

from app.inference.child import run_reporting_errors
from app.serving import run_endpoint
from app.serving.arguments import PARAMETERS, ServingOptions, parse_settings
from app.serving.settings import EndpointReady
from loadgen.machine import raise_descriptor_limit


def main() -> None:
    raise_descriptor_limit()
    click.Command(
        "python -m app.serving",
        callback=lambda **values: run_endpoint(parse_settings(ServingOptions(**values)), _announce),
        params=[*PARAMETERS],
        help="Serve an ONNX model or a language model.",
    ).main(prog_name="python -m app.serving")


def _announce(ready: EndpointReady) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
