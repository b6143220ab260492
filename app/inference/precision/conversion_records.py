"""Records of a conversion to another precision, and the memory limit of the child process that
converts."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from app.records.local import OnnxPrecision

GIB = 2**30
_BASE_BYTES = 3 * GIB
"""Memory in bytes for the threads of the libraries, and for the activations of a calibration
batch."""

_MODEL_COPIES = 12
"""Number of copies of the model that the memory limit allows: as bytes and as protobuf messages
before and after each step, and in ONNX Runtime."""


def limit_memory(model_bytes: int) -> None:
    """Limit the memory of this process according to the size of the model (Linux only). Beyond the
    limit, this process raises MemoryError or aborts. The time limit is enforced by the parent
    process."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        page_count = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit_bytes = page_count * resource.getpagesize() + _BASE_BYTES + _MODEL_COPIES * model_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


class ConvertedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A converted model, or the user's original file.

    `duration_s` is the duration of the conversion in s; `None` if nothing was converted, because
    the conversion was cached or the original file is used."""

    path: Path
    sha256: str
    duration_s: float | None
    calibration_rows: int | None = None
    """Number of rows that calibrated the int8-static model; `None` for other precisions. Accuracy
    measured on the same rows would be too optimistic."""
    notes: tuple[str, ...] = ()


class ConversionJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the child process that converts a model. `output_path` is the path of the converted
    model to write. `calibration` is the path of an .npz file with unnamed arrays, in the order of
    `inputs`."""

    model: str
    model_bytes: int
    precision: OnnxPrecision
    output_path: str
    has_7_bit_weights: bool
    calibration: str | None = None
    inputs: tuple[str, ...] = ()


class ConversionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Report of the child process on the converted model that it wrote."""

    calibration_rows: int | None
    notes: tuple[str, ...]
