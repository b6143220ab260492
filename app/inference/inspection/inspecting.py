"""Inspects a model in a limited child process, so that a hostile file costs an error message and a few seconds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.inspection.limits import WALL_S
from app.inference.model_file import check_model_file
from app.inference.parent import ChildKilledError, answer_of
from app.records.model import GivenShapes, ModelFacts


def inspect_model(model: Path, given: GivenShapes) -> ModelFacts:
    """Inspect a model file. Raises UsageError for a file that is not a model or is rejected, and for invalid axis
    lengths.
    """
    check_model_file(model)
    arguments = (str(model.absolute()), msgspec.json.encode(given).decode())
    try:
        output = answer_of(f"the inspection of {model.name}", "app.inference.inspection", *arguments, timeout_s=WALL_S)
    except ChildKilledError as error:
        raise UsageError(
            f"{error}, so it is refused",
            hint="A file of its size is read well within the limits; make it again with a tool you trust.",
        ) from error
    return msgspec.msgpack.decode(output, type=ModelFacts)
