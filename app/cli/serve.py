"""Serve an ONNX model over the Open Inference Protocol, or a language model with the OpenAI API.

A language model is a folder that was exported for ONNX Runtime GenAI. The endpoint batches
requests, and rejects them with status 429 when its queue is full.
"""

from __future__ import annotations

from app.cli.commands import Command, CommandOption
from app.serving.arguments import PARAMETERS, ServingOptions


def _serve(options: ServingOptions, token: str | None) -> int:
    from app.profiles.bundled import bundled_models
    from app.serving import serve
    from app.wiring.workers import read_token

    options = options._replace(model=str(bundled_models().get(options.model, options.model)))
    return serve(options, None if token is None else read_token(token))


COMMAND = Command(
    "serve",
    _serve,
    [
        *PARAMETERS,
        CommandOption(
            ["--token"],
            metavar="REFERENCE",
            help="env:NAME or file:PATH of the token that requests must include (default: a new token unless bound to "
            "loopback)",
        ),
    ],
    documentation=__doc__,
    examples=("sizewise serve model.onnx --port 8001", "sizewise serve model-folder --port 8001 --max-batch 4"),
)
