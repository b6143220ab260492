"""Show the contents of a model file, the cost of an inference, and the GPUs the model fits on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.records.model import ShapeOverrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subcommands = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    inspect_parser = subcommands.add_parser(
        "inspect", help="show inputs, parameters, FLOPs, bytes, memory by batch size, and GPUs that the model fits on"
    )
    inspect_parser.add_argument(
        "file", type=Path, help=".onnx file or name of a bundled model; the model is read, not run"
    )
    inspect_parser.add_argument("--json", action="store_true", help="print as JSON")
    inspect_parser.add_argument(
        "--axis",
        dest="axes",
        action="append",
        default=[],
        metavar="NAME=LENGTH",
        help="length of a dynamic axis, such as seq=128",
    )
    inspect_parser.add_argument(
        "--shape",
        dest="shapes",
        action="append",
        default=[],
        metavar="NAME=1,3,224,224",
        help="shape of an input; N marks a dynamic axis, for example the batch",
    )


def execute(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import bundled_models
    from app.wiring.inspecting import inspect_with_gpus

    path = bundled_models().get(str(arguments.file), arguments.file)
    inspection = inspect_with_gpus(path, _parse_shape_overrides(arguments.axes, arguments.shapes))
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(inspection), indent=2).decode())
        return 0
    from app.cli.model_tables import format_inspection

    for line in format_inspection(inspection):
        print(line)
    return 0


def _parse_shape_overrides(axis_options: list[str], shape_options: list[str]) -> ShapeOverrides:
    from app.records.model import ShapeOverrides

    overrides = ShapeOverrides({}, {})
    for option in axis_options:
        name, value = _parse_pair(option, "--axis seq=128")
        overrides.axes[name] = _parse_length(value, f"--axis {option}")
    for option in shape_options:
        name, value = _parse_pair(option, "--shape image=N,3,224,224")
        overrides.shapes[name] = tuple(
            None if size.strip() == "N" else _parse_length(size, f"--shape {option}") for size in value.split(",")
        )
    return overrides


def _parse_pair(option: str, example: str) -> tuple[str, str]:
    from app.errors import UsageError

    name, equals, value = option.rpartition("=")
    if not (name and equals and value):
        raise UsageError(f"{option!r} does not have the form NAME=VALUE", hint=f"Use the form {example}.")
    return name, value


def _parse_length(text: str, option: str) -> int:
    from app.errors import UsageError

    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16 and int(digits) >= 1):
        raise UsageError(f"{option}: {text!r} is not a valid length", hint="Use a whole number of at least 1.")
    return int(digits)
