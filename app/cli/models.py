"""Show the contents of a model, the cost of an inference or its KV cache, and the GPUs the model fits on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from app.cli.commands import PATH, Arguments, Command, CommandGroup, CommandOption
from app.cli.options import output_options, parse_output, refuse_options

if TYPE_CHECKING:
    from pathlib import Path

    from app.cli.options import OutputFormat
    from app.records.model import ShapeOverrides


def _inspect(arguments: Arguments) -> int:
    from app.inference.inspection.formats import find_language_model_format
    from app.profiles.bundled import bundled_models

    output = parse_output(arguments)
    path = bundled_models().get(str(arguments.file), arguments.file)
    if find_language_model_format(path) is None:
        refuse_options(
            _LANGUAGE_MODEL_OPTIONS,
            arguments,
            "applies to language models, which this file is not",
            "Set a GGUF file, a safetensors file, or the folder of a language model.",
        )
        _inspect_onnx_model(arguments, path, output)
    else:
        refuse_options(
            _ONNX_OPTIONS,
            arguments,
            "applies to ONNX models, but this is a language model",
            "Use --context and --batch.",
        )
        _inspect_language_model(arguments, path, output)
    return 0


def _inspect_onnx_model(arguments: Arguments, path: Path, output: OutputFormat) -> None:
    from app.cli.model_tables import format_inspection, format_inspection_tables
    from app.cli.tables import print_json
    from app.wiring.inspecting import inspect_with_gpus

    inspection = inspect_with_gpus(path, _parse_shape_overrides(arguments.axes, arguments.shapes))
    if output == "json":
        print_json(inspection)
    elif output == "table":
        for line in format_inspection(inspection):
            print(line)
    else:
        print("\n\n".join(format_inspection_tables(inspection, output)))


def _inspect_language_model(arguments: Arguments, path: Path, output: OutputFormat) -> None:
    from app.cli.language_model_tables import format_language_model, format_language_model_tables
    from app.cli.tables import print_json
    from app.wiring.inspecting_language_models import FitQuestion, inspect_language_model_with_gpus

    question = FitQuestion(
        _parse_numbers("--context", arguments.contexts),
        _parse_numbers("--batch", arguments.batches),
        arguments.kv_dtype,
    )
    inspection = inspect_language_model_with_gpus(path, question)
    if output == "json":
        print_json(inspection)
    elif output == "table":
        for line in format_language_model(inspection):
            print(line)
    else:
        print("\n\n".join(format_language_model_tables(inspection, output)))


def _parse_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Parse whole numbers separated by commas, without duplicates; empty if the option is not set."""
    from app.errors import UsageError

    numbers = () if text is None else tuple(dict.fromkeys(_parse_length(part, option) for part in text.split(",")))
    if len(numbers) > _MAX_NUMBERS or any(number > _MAX_NUMBER for number in numbers):
        raise UsageError(
            f"{option} {text} is not possible", hint=f"Use up to {_MAX_NUMBERS} numbers of at most {_MAX_NUMBER:,}."
        )
    return numbers


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


_MAX_NUMBERS, _MAX_NUMBER = 8, 100_000_000
_ONNX_SECTION = "ONNX models"
_ONNX_OPTIONS = (
    CommandOption(
        ["--axis", "axes"],
        multiple=True,
        metavar="NAME=LENGTH",
        section=_ONNX_SECTION,
        help="length of a dynamic axis, such as seq=128",
    ),
    CommandOption(
        ["--shape", "shapes"],
        multiple=True,
        metavar="NAME=1,3,224,224",
        section=_ONNX_SECTION,
        help="shape of an input; N marks a dynamic axis, for example the batch",
    ),
)
_LANGUAGE_MODEL_SECTION = "Language models"
_LANGUAGE_MODEL_OPTIONS = (
    CommandOption(
        ["--context", "contexts"],
        metavar="TOKENS",
        section=_LANGUAGE_MODEL_SECTION,
        help="length of each sequence in tokens, or several separated by commas (default: 8192, or the model's maximum "
        "if that is less)",
    ),
    CommandOption(
        ["--batch", "batches"],
        metavar="N",
        section=_LANGUAGE_MODEL_SECTION,
        help="number of sequences at once, or several separated by commas (default: 1,16)",
    ),
    CommandOption(
        ["--kv-dtype"],
        type=click.Choice(["fp32", "fp16", "bf16", "fp8", "int8"]),
        section=_LANGUAGE_MODEL_SECTION,
        help="data type of the KV cache (default: as the model's files imply, else bf16)",
    ),
)

COMMAND = CommandGroup(
    "models",
    [
        Command(
            "inspect",
            _inspect,
            [
                click.Argument(
                    ["file"],
                    type=PATH,
                    help=".onnx, .gguf or .safetensors file, folder of a language model, or name of a bundled model; "
                    "the model is read, not run",
                ),
                *output_options(),
                *_ONNX_OPTIONS,
                *_LANGUAGE_MODEL_OPTIONS,
            ],
            documentation="Show inputs, parameters, FLOPs, bytes, memory by batch size, and GPUs that the model fits "
            "on.\n\nOf a language model, show its architecture, parameters, KV cache, and the GPUs that it fits on at "
            "a context and a batch. It is a GGUF file, a safetensors file, or a folder in the format of Hugging Face "
            "or ONNX Runtime GenAI.",
            examples=(
                "sizewise models inspect model.onnx --axis seq=128",
                "sizewise models inspect llama-8b.gguf --context 8192,32768 --batch 16",
            ),
        ),
    ],
    documentation=__doc__,
)
