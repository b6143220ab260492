"""Inspect a model in a child process with resource limits, so that a malicious file can only cause
an error."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UnavailableError, UsageError
from app.inference.inspection.limits import COSTS_OPTION, TOKENIZER_OPTION, WALL_TIME_LIMIT_S
from app.inference.model_file import check_model_file
from app.inference.parent import ChildKilledError, ChildTerminatedError, run_child
from app.records.generation import DecoderCosts
from app.records.language_model import LanguageModelMetadata
from app.records.model import ModelMetadata, ShapeOverrides


def inspect_model(model: Path, shape_overrides: ShapeOverrides) -> ModelMetadata:
    """Inspect a model file and return its metadata and costs. Raises UsageError if the file is not
    a valid model or is rejected, and for invalid axis lengths."""
    check_model_file(model)
    output = _run_inspection(model, msgspec.json.encode(shape_overrides).decode())
    return msgspec.msgpack.decode(output, type=ModelMetadata)


def inspect_language_model(model: Path) -> LanguageModelMetadata:
    """Inspect the files of a language model. Raises UsageError if they are not valid or are
    rejected."""
    return msgspec.msgpack.decode(_run_inspection(model), type=LanguageModelMetadata)


def read_decoder_costs(folder: Path) -> DecoderCosts:
    """Read the costs of the decoder of a model folder. Raises UsageError if the folder is not valid
    or is rejected."""
    return msgspec.msgpack.decode(_run_inspection(folder, COSTS_OPTION), type=DecoderCosts)


def check_tokenizer(tokenizer: Path) -> None:
    """Load a `tokenizer.json` and count tokens with it. Raises UsageError if the file cannot be used or
    is rejected."""
    _run(
        tokenizer,
        TOKENIZER_OPTION,
        activity=f"the trial of the tokenizer {tokenizer}",
        consequence="no tokens can be counted",
        rejected="the tokenizer",
        hint="Use the tokenizer.json that the publisher of the model provides.",
    )


def _run_inspection(model: Path, *arguments: str) -> bytes:
    return _run(
        model,
        *arguments,
        activity=f"the inspection of {model.name}",
        consequence="its model was not read",
        rejected="the model",
        hint="Reading a model file of this size normally stays well within the limits. Export the model again with a "
        "tool you trust.",
    )


def _run(path: Path, *arguments: str, activity: str, consequence: str, rejected: str, hint: str) -> bytes:
    """Run the child process and return its output. Raises UsageError if a limit ended it, and
    UnavailableError if another process ended it; the other texts are parts of their messages."""
    try:
        return run_child(
            activity, "app.inference.inspection", str(path.absolute()), *arguments, timeout_s=WALL_TIME_LIMIT_S
        )
    except ChildTerminatedError as error:
        raise UnavailableError(f"{error}; {consequence}", hint="Free memory, and try again.") from error
    except ChildKilledError as error:
        raise UsageError(f"{error}, so {rejected} is rejected", hint=hint) from error
