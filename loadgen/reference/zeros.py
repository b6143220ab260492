"""What a scripted model answers: zeros of the right type and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadgen.payloads.tensors import DTYPES, TensorInput

MAX_ROWS = 65_536


def shape_of(spec: TensorInput, rows: int) -> list[int]:
    if not spec.shape:
        return []
    return [rows if spec.shape[0] < 0 else spec.shape[0], *(1 if size < 0 else size for size in spec.shape[1:])]


def zero_of(spec: TensorInput) -> str | float | bool:
    if spec.datatype == "BYTES":
        return ""
    if spec.datatype == "BOOL":
        return False
    return 0.0 if spec.datatype.startswith("FP") else 0


def nested(value: object, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        value = [value] * size
    return value


def check_datatypes(specs: Sequence[TensorInput]) -> None:
    """Raises ValueError."""
    unknown = [spec.datatype for spec in specs if spec.datatype not in DTYPES and spec.datatype != "BYTES"]
    if unknown:
        raise ValueError(f"no datatype is called {unknown[0]}: they are {', '.join([*DTYPES, 'BYTES'])}")
