"""The embedded endpoint: an ONNX model behind the Open Inference Protocol v2 over HTTP, with dynamic batching."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.serving.ready import EndpointReady


def serve(arguments: argparse.Namespace) -> int:
    """Serve in this process until a signal asks to stop; arguments as of `add_serving_arguments`."""
    from app.serving.arguments import settings_of
    from app.serving.server import run

    run(settings_of(arguments), _print_url)
    return 0


def _print_url(ready: EndpointReady) -> None:
    import sys

    sys.stdout.write(f"{ready.url}/v2/models/{ready.model}/infer\n")
    sys.stdout.flush()
