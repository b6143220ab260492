"""Show the contents of a model, the cost of an inference or its KV cache, and the GPUs the model fits on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import click

from app.cli.commands import PATH, Command, CommandGroup, CommandOption
from app.cli.options import OutputOptions, output_options, parse_output, refuse_options
from app.cli.streams import print_whole
from app.errors import UsageError
from app.records.dtypes import KV_DTYPES

if TYPE_CHECKING:
    from app.cli.options import OutputFormat
    from app.inference.generation.decoder_shape import DecoderShape
    from app.records.model import ShapeOverrides


_WeightBits = Literal[4, 8, 32]


class _OnnxOptions(NamedTuple):
    """Values of `_ONNX_OPTIONS`."""

    axes: tuple[str, ...]
    shapes: tuple[str, ...]


class _LanguageModelOptions(NamedTuple):
    """Values of `_LANGUAGE_MODEL_OPTIONS`."""

    contexts: str | None
    batches: str | None
    kv_dtype: str | None
    all_accelerators: bool


def _inspect(
    file: Path, requested_output: OutputOptions, onnx: _OnnxOptions, language_model: _LanguageModelOptions
) -> int:
    from app.inference.inspection.formats import find_language_model_format
    from app.profiles.bundled import bundled_models

    output = parse_output(requested_output)
    path = bundled_models().get(str(file), file)
    if find_language_model_format(path) is None:
        refuse_options(
            _LANGUAGE_MODEL_OPTIONS,
            language_model._asdict(),
            "applies to language models, which this file is not",
            "Set a GGUF file, a safetensors file, or the folder of a language model.",
        )
        _inspect_onnx_model(path, onnx, output)
    else:
        refuse_options(
            _ONNX_OPTIONS,
            onnx._asdict(),
            "applies to ONNX models, but this is a language model",
            "Use --context and --batch.",
        )
        _inspect_language_model(path, language_model, output)
    return 0


def _list(requested_output: OutputOptions) -> int:
    from app.cli.known_models import print_known_models

    print_known_models(parse_output(requested_output))
    return 0


def _inspect_onnx_model(path: Path, onnx: _OnnxOptions, output: OutputFormat) -> None:
    from app.cli.model_tables import format_inspection, format_inspection_tables
    from app.cli.tables import print_json
    from app.wiring.inspecting import inspect_with_gpus

    inspection = inspect_with_gpus(path, _parse_shape_overrides(onnx.axes, onnx.shapes))
    if output == "json":
        print_json(inspection)
    elif output == "table":
        for line in format_inspection(inspection):
            print(line)
    else:
        print_whole("\n\n".join(format_inspection_tables(inspection, output)))


def _inspect_language_model(path: Path, options: _LanguageModelOptions, output: OutputFormat) -> None:
    from app.cli.language_model_tables import format_language_model, format_language_model_tables
    from app.cli.tables import print_json
    from app.wiring.inspecting_language_models import FitQuestion, inspect_language_model_with_gpus

    question = FitQuestion(
        _parse_numbers("--context", options.contexts),
        _parse_numbers("--batch", options.batches),
        options.kv_dtype,
    )
    inspection = inspect_language_model_with_gpus(path, question)
    if output == "json":
        print_json(inspection)
    elif output == "table":
        for line in format_language_model(inspection, has_all_accelerators=options.all_accelerators):
            print(line)
    else:
        print_whole("\n\n".join(format_language_model_tables(inspection, output)))


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


def _write_random_model(
    folder: Path, layers: int, hidden: int, vocabulary: int, context: int, bits: _WeightBits, paged: bool, seed: int
) -> int:
    from app.extras import require_extra

    require_extra("llm")
    from app.inference.generation.decoder_files import write_random_decoder
    from app.inference.generation.decoder_shape import PagedCache

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder", hint="Set a new folder.")
    shape = _build_shape(layers=layers, hidden=hidden, vocabulary=vocabulary, context=context, bits=bits)
    try:
        write_random_decoder(folder, shape, seed, PagedCache() if paged else None)
    except OSError as error:
        raise UsageError(
            f"the model cannot be written to {folder}: {error.strerror}", hint="Set a folder that can be written."
        ) from error
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: a decoder with random weights, {size_bytes / 1e6:.1f} MB")
    return 0


def _build_shape(*, layers: int, hidden: int, vocabulary: int, context: int, bits: _WeightBits) -> DecoderShape:
    """Return the shape of a decoder. Raises UsageError if its sizes do not fit together."""
    from app.inference.generation.decoder_shape import QUANTIZATION_BLOCK, DecoderShape

    if hidden % (_HEADS * QUANTIZATION_BLOCK):
        raise UsageError(
            f"--hidden {hidden} is not a multiple of {_HEADS * QUANTIZATION_BLOCK}",
            hint="Use 256, 512 or 1024, for example.",
        )
    if layers * hidden * hidden > _MAX_LAYER_WEIGHTS:
        raise UsageError(
            f"{layers} layers × {hidden} are too many weights to draw", hint="Use fewer layers, or a smaller --hidden."
        )
    return DecoderShape(
        layers=layers,
        hidden=hidden,
        heads=_HEADS,
        kv_heads=_HEADS // 2,
        feed_forward=3 * hidden,
        vocabulary=vocabulary,
        context=context,
        weight_bits=bits,
    )


_HEADS = 8
_MAX_LAYER_WEIGHTS = 16 * 2048 * 2048
"""Maximum of layers × hidden², at which the weights have about 3.5 GB in float32."""
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
        type=click.Choice(KV_DTYPES),
        section=_LANGUAGE_MODEL_SECTION,
        help="data type of the KV cache (default: as the model's files imply, else bf16)",
    ),
    CommandOption(
        ["--all-accelerators"],
        is_flag=True,
        section=_LANGUAGE_MODEL_SECTION,
        help="show all accelerators of the catalog in the table, not only common ones; csv, md and json have all",
    ),
)


def _size_option(name: str, default: int, maximum: int, help_text: str, *, at_least: int = 1) -> CommandOption:
    return CommandOption(
        [name],
        type=click.IntRange(at_least, maximum),
        default=default,
        metavar="N",
        help=f"{help_text} (default: {default})",
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
        Command(
            "list",
            _list,
            output_options(),
            documentation="List the published language models that `plan --model` knows by name.\n\nA name may have a "
            "publisher, a tuning and a precision: meta-llama/Llama-3.1-70B-Instruct-FP8 is llama-3.1-70b.",
            examples=("sizewise models list",),
        ),
        Command(
            "random",
            _write_random_model,
            [
                click.Argument(["folder"], type=PATH, help="new folder for the model"),
                _size_option("--layers", 4, 256, "number of layers"),
                _size_option("--hidden", 256, 8192, "size of a hidden state"),
                _size_option("--vocabulary", 4096, 262_144, "number of tokens of the vocabulary", at_least=259),
                _size_option("--context", 4096, 131_072, "maximum number of tokens of a sequence"),
                CommandOption(
                    ["--bits"],
                    type=click.Choice(get_args(_WeightBits)),
                    default=32,
                    help="bits per weight; 32 is float32 (default: 32). With 4 or 8, activations are rounded to int8, "
                    "so greedy tokens can differ with and without --paged",
                ),
                CommandOption(
                    ["--paged"],
                    is_flag=True,
                    help="with a paged KV cache, so that `sizewise serve` batches its requests continuously",
                ),
                CommandOption(
                    ["--seed"],
                    type=click.IntRange(0, 2**32 - 1),
                    default=0,
                    metavar="N",
                    help="seed of the weights (default: 0)",
                ),
            ],
            documentation="Write a language model with random weights, to try Sizewise without a download.\n\nIts text "
            "is meaningless, but takes the same work as that of a trained model of this size.",
            examples=("sizewise models random my-model --layers 8 --hidden 512 --bits 4 --paged",),
        ),
    ],
    documentation=__doc__,
)
