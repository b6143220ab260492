"""Open the desktop app to configure and watch measurements, read reports and plan capacity."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH",
        help="file to open: a run directory, bundle, profile, .onnx model, price list or plan file",
    )  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    exit_code: int = arguments.open_window(tuple(arguments.paths))
    return exit_code
