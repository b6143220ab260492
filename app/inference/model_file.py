"""Checks before any library opens a model: it must be a regular file of a valid size that refers to no foreign
files.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from app.errors import UsageError

MAX_MODEL_BYTES = 2**31
"""Protobuf's size limit: a larger file cannot be an ONNX model. Weights may be in separate files."""

_LOCATION_KEY = b"location"


def check_model_file(model: Path) -> None:
    """Raise UsageError if the model is not a regular file of a valid size."""
    if not model.exists():
        raise UsageError(f"model not found: {model}", hint="Set the path of an .onnx file.")
    if not model.is_file():
        raise UsageError(f"{model} is not a file", hint="Set the path of an .onnx file.")
    size = model.stat().st_size
    if size == 0:
        raise UsageError(f"{model.name} is empty and not a valid ONNX model")
    if size > MAX_MODEL_BYTES:
        raise UsageError(f"{model.name} has {size} bytes, above the maximum of {MAX_MODEL_BYTES} for an ONNX model")


def check_external_weights(model: Path) -> None:
    """Raise UsageError if the model refers to weights in files that are not its own.

    A model without external files is read once and never parsed, since the search costs little compared with opening
    it.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION_KEY) < 0:  # Every external file of a tensor needs this key.
            return
    from app.inference.inspection.reading import read_model
    from app.inference.inspection.tensors import weight_files

    weight_files(read_model(model), model)
