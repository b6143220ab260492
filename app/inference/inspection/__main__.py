"""Child process that inspects one model within resource limits, without running it, and prints its
ModelMetadata, LanguageModelMetadata or DecoderCosts as MessagePack. It also tries tokenizers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.errors import UsageError
from app.inference.child import exit_with_parent, run_reporting_errors
from app.inference.inspection.limits import COSTS_OPTION, TOKENIZER_OPTION, limit_this_process
from app.inference.model_file import check_model_file
from app.records.model import ShapeOverrides
from loadgen.decoding import decode_json

if TYPE_CHECKING:
    from app.records.generation import DecoderCosts
    from app.records.language_model import LanguageModelMetadata
    from app.records.model import ModelMetadata

_TOKENIZER_MEMORY_FACTOR = 4
"""Size by which a tokenizer file counts for the limits, relative to that of a model: its vocabulary
and merges take more memory in hash maps than as text."""


def main() -> None:
    exit_with_parent()
    path = Path(sys.argv[1])
    if sys.argv[2:] == [TOKENIZER_OPTION]:
        _try_tokenizer(path)
        return
    try:
        output = _inspect(path, sys.argv[2:])
    except (MemoryError, RecursionError) as error:
        raise UsageError(
            f"{path.name} is rejected: reading it needs far more memory than expected from its size",
            hint="Export the model again with a tool you trust.",
        ) from error
    sys.stdout.buffer.write(msgspec.msgpack.encode(output))


def _try_tokenizer(path: Path) -> None:
    from loadgen.payloads.texts import TokenizerError, try_token_counter

    with contextlib.suppress(OSError):  # reported below
        limit_this_process(_TOKENIZER_MEMORY_FACTOR * path.stat().st_size)
    try:
        try_token_counter(str(path))
    except TokenizerError as error:
        raise UsageError(str(error), hint=error.hint) from error
    except MemoryError as error:
        raise UsageError(
            f"{path} is rejected: the tokenizer needs far more memory than expected from its size",
            hint="Use the tokenizer.json that the publisher of the model provides.",
        ) from error


def _inspect(path: Path, arguments: list[str]) -> ModelMetadata | LanguageModelMetadata | DecoderCosts:
    match arguments:
        case []:
            return _read_language_model(path)
        case [argument] if argument == COSTS_OPTION:
            return _read_decoder_costs(path)
        case [shapes]:
            return _read_onnx_model(path, shapes)
    raise AssertionError(arguments)


def _read_decoder_costs(folder: Path) -> DecoderCosts:
    from app.inference.generation.decoder_costs import read_decoder_costs
    from app.inference.generation.model_folder import read_model_folder

    model = read_model_folder(folder)
    limit_this_process((folder / model.model_file).stat().st_size)
    return read_decoder_costs(model)


def _read_onnx_model(path: Path, shapes: str) -> ModelMetadata:
    from app.inference.inspection.metadata import read_model_metadata

    shape_overrides = decode_json(shapes, ShapeOverrides)
    check_model_file(path)
    limit_this_process(path.stat().st_size)
    return read_model_metadata(path, shape_overrides)


def _read_language_model(path: Path) -> LanguageModelMetadata:
    from app.inference.inspection.language_model import estimate_header_bytes, read_language_model

    limit_this_process(estimate_header_bytes(path))
    return read_language_model(path)


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
