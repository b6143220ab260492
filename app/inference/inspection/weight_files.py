"""The files beside a model that hold its weights, none of which may be another's.

A hostile model names /etc/passwd, ../secrets or a link to them, and a runtime that reads it hands them on as weights.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto

from app.errors import UsageError
from app.inference.inspection.tensors import size_bytes, stored_tensors
from app.inference.printable import printable
from app.records.model import ExternalFile

_HINT = "Export the model again, with its weights in plain files of its own folder, or in the model itself."


def weight_files(model: onnx.ModelProto, path: Path) -> tuple[ExternalFile, ...]:
    """Those that the tensors of `model`, read from `path`, name. Raises UsageError for one outside the model's folder,
    for a link, and for a tensor that does not lie within its file."""
    found: dict[str, ExternalFile] = {}
    for tensor in stored_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        entries = _entries(tensor)
        location = entries.get("location", "")
        if location not in found:
            found[location] = ExternalFile(printable(location), _size_of(path, location))
        _check_span(tensor, entries, found[location])
    return tuple(sorted(found.values(), key=lambda file: file.name))


def _entries(tensor: TensorProto) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise _refused(f"tensor {printable(tensor.name)!r} says twice where its weights lie")
    return entries


def _size_of(model: Path, location: str) -> int:
    shown = printable(location)
    if not location or "\0" in location:
        raise _refused("it names no file for some of its weights")
    for pure in (PurePosixPath(location), PureWindowsPath(location)):
        if pure.is_absolute() or pure.drive or pure.root:
            raise _refused(f"its weights are to be read from {shown}, an absolute path")
        if ".." in pure.parts:
            raise _refused(f"its weights are to be read from {shown}, outside the model's folder")
    file = model.parent / location
    try:
        is_inside = file.resolve(strict=True).is_relative_to(model.parent.resolve())
        status = file.stat()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError in older versions of Python
        raise _refused(f"its weights are to be read from {shown}, which cannot be read") from error
    if not is_inside:
        raise _refused(f"its weights are to be read from {shown}, a link out of the model's folder")
    if not stat.S_ISREG(status.st_mode):
        raise _refused(f"its weights are to be read from {shown}, which is not a plain file")
    if status.st_nlink > 1:
        raise _refused(f"its weights are to be read from {shown}, a file with a second name elsewhere (a hard link)")
    return status.st_size


def _check_span(tensor: TensorProto, entries: dict[str, str], file: ExternalFile) -> None:
    name = printable(tensor.name)
    offset, length = (_whole_number(entries.get(key), name, key) for key in ("offset", "length"))
    if any(axis < 0 for axis in tensor.dims):
        raise _refused(f"tensor {name!r} has an axis of negative length")
    declared = size_bytes(tensor.data_type, tuple(tensor.dims))
    if declared is None:
        raise _refused(f"tensor {name!r} is of a type that no file of weights can hold")
    if length is not None and length != declared:
        raise _refused(f"tensor {name!r} declares {declared} bytes and is given {length}")
    if (offset or 0) + declared > file.size_bytes:
        raise _refused(f"tensor {name!r} reaches beyond the end of {file.name}")


def _whole_number(text: str | None, tensor: str, key: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _refused(f"tensor {tensor!r} has the {key} {printable(text)!r} in its file")
    return int(text)


def _refused(reason: str) -> UsageError:
    return UsageError(f"the model is refused: {reason}", hint=_HINT)
