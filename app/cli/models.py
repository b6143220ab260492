"""Show the contents of a model file, the cost of an inference, and the GPUs the model fits on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from app.cli.commands import PATH, Arguments, Command, CommandGroup, CommandOption
from app.cli.options import output_options, parse_output

if TYPE_CHECKING:
    from app.records.model import ShapeOverrides


def _inspect(arguments: Arguments) -> int:
    from app.cli.model_tables import format_inspection, format_inspection_tables
    from app.cli.tables import print_json
    from app.profiles.bundled import bundled_models
    from app.wiring.inspecting import inspect_with_gpus

    output = parse_output(arguments)
    path = bundled_models().get(str(arguments.file), arguments.file)
    inspection = inspect_with_gpus(path, _parse_shape_overrides(arguments.axes, arguments.shapes))
    if output == "json":
        print_json(inspection)
    elif output == "table":
        for line in format_inspection(inspection):
            print(line)
    else:
        print("\n\n".join(format_inspection_tables(inspection, output)))
    return 0


def _parse_shape_overrides(axis_options: Sequence[str], shape_options: Sequence[str]) -> ShapeOverrides:
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


COMMAND = CommandGroup(
    "models",
    [
        Command(
            "inspect",
            _inspect,
            [
                click.Argument(
                    ["file"], type=PATH, help=".onnx file or name of a bundled model; the model is read, not run"
                ),
                *output_options(),
                CommandOption(
                    ["--axis", "axes"],
                    multiple=True,
                    metavar="NAME=LENGTH",
                    help="length of a dynamic axis, such as seq=128",
                ),
                CommandOption(
                    ["--shape", "shapes"],
                    multiple=True,
                    metavar="NAME=1,3,224,224",
                    help="shape of an input; N marks a dynamic axis, for example the batch",
                ),
            ],
            documentation="Show inputs, parameters, FLOPs, bytes, memory by batch size, and GPUs that the model fits "
            "on.",
            examples=("sizewise models inspect model.onnx --axis seq=128",),
        ),
    ],
    documentation=__doc__,
)
