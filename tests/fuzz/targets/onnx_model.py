"""An ONNX file, inspected without running it, as the child process of `models inspect` does."""

from __future__ import annotations

from collections.abc import Iterable

from app.inference.inspection.metadata import read_model_metadata
from app.records.model import ShapeOverrides
from tests.fuzz.scratch import ROOT, input_file

_LARGEST = 64 << 10


def read(data: bytes) -> None:
    with input_file(b"\0" + data, "model.onnx") as path:
        read_model_metadata(path, ShapeOverrides())


def seeds() -> Iterable[bytes]:
    models = sorted((ROOT / "profiles" / "models").glob("*.onnx"))
    return (path.read_bytes() for path in models if path.stat().st_size < _LARGEST)
