"""Open the desktop app to configure and watch measurements, read reports and plan capacity."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.commands import PATH, Command


def _open_window(paths: tuple[Path, ...]) -> int:
    exit_code: int = click.get_current_context().obj(paths)
    return exit_code


COMMAND = Command(
    "gui",
    _open_window,
    [
        click.Argument(
            ["paths"],
            nargs=-1,
            type=PATH,
            metavar="[PATH]...",
            help="file to open: a run directory, bundle, profile, .onnx model, price list or plan file",
        ),
    ],
    documentation=__doc__,
    examples=("sizewise gui", "sizewise gui model.onnx"),
)
