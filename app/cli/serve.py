"""Serve an ONNX model over the Open Inference Protocol, with dynamic batching and back-pressure."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from app.serving.arguments import add_serving_arguments

    add_serving_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    from app.serving import serve

    return serve(arguments)
