"""Serve an ONNX model over the Open Inference Protocol, with dynamic batching and back-pressure."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from app.serving.arguments import add_serving_arguments

    add_serving_arguments(parser)
    parser.add_argument(
        "--token", metavar="REFERENCE",
        help="env:NAME or file:PATH of the token that requests must include (default: a new token unless bound to "
        "loopback)",
    )  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import bundled_models
    from app.serving import serve
    from app.wiring.workers import read_token

    arguments.model = str(bundled_models().get(arguments.model, arguments.model))
    return serve(arguments, None if arguments.token is None else read_token(arguments.token))
