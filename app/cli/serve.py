"""Serve an ONNX model over the Open Inference Protocol, with dynamic batching and back-pressure."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from app.serving.arguments import add_serving_arguments

    add_serving_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import bundled_models
    from app.serving import serve

    arguments.model = str(bundled_models().get(arguments.model, arguments.model))
    return serve(arguments)
