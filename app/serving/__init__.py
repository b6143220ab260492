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

    run(settings_of(arguments), _announce)
    return 0


def _announce(ready: EndpointReady) -> None:
    """The URL that a profile's target takes to standard output, what a person wants to know to standard error."""
    import sys

    sys.stdout.write(f"{ready.url}\n")
    sys.stdout.flush()
    why = f" ({ready.provider_reason})" if ready.provider_reason else ""
    sys.stderr.write(
        f"serving {ready.model} on {ready.provider_used}{why}: POST {ready.url}/v2/models/{ready.model}/infer\n"
        "Ctrl-C answers what waits and stops.\n"
    )
