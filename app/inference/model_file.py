"""Check a model file before a library opens it: it must be a regular file of a valid size, without
references to files outside its folder."""

from __future__ import annotations

import mmap
from pathlib import Path

from app.errors import UsageError
from loadgen.regular_files import open_regular

MAX_MODEL_BYTES = 2**31
"""Maximum size of a model file in bytes, which is the size limit of protobuf. Weights may be in
external files."""

_LOCATION_KEY = b"location"


def check_model_file(model: Path) -> None:
    """Raise UsageError if a model file does not exist, is not a regular file, is empty or is too
    large."""
    if not model.exists():
        raise UsageError(f"the model {model} does not exist", hint="Set the path of an .onnx file.")
    if not model.is_file():
        raise UsageError(f"{model} is not a file", hint="Set the path of an .onnx file.")
    size = model.stat().st_size
    if size == 0:
        raise UsageError(f"{model.name} is empty, so it is not a valid ONNX model", hint="Export the model again.")
    if size > MAX_MODEL_BYTES:
        raise UsageError(
            f"{model.name} has {size} bytes, above the maximum of {MAX_MODEL_BYTES} for an ONNX model",
            hint="Export the model with its weights in external files.",
        )


def check_external_weights(model: Path) -> None:
    """Raise UsageError if a model refers to external weight files that do not belong to the model.

    The file is only parsed if a scan finds a reference to an external file. The scan is cheap
    compared with opening the model."""
    with open_regular(model) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION_KEY) < 0:  # Every reference to an external file needs this key.
            return
    from app.inference.inspection.reading import read_model
    from app.inference.inspection.tensors import find_weight_files

    find_weight_files(read_model(model), model)
