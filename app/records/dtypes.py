"""Data types of a language model's weights, arithmetic and KV cache: the only lists of them."""

from __future__ import annotations

from typing import Literal, get_args

Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]
ComputeDtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4"]
"""Data types of arithmetic. Weights of 4-bit integers are converted first."""
COMPUTE_DTYPES: tuple[ComputeDtype, ...] = get_args(ComputeDtype)
WEIGHT_DTYPES: tuple[Dtype, ...] = tuple(dtype for dtype in get_args(Dtype) if dtype != "tf32")
"""Data types in which weights are published; tf32 is a format of arithmetic only."""
KV_DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8")
BYTES_PER_VALUE: dict[str, float] = {
    "fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.56, "fp4": 0.56,
}  # fmt: skip
"""Size of a value in memory. The scales of 4-bit weights add 0.06 bytes."""


def choose_compute_dtype(weights: str) -> str:
    """Return the data type of the arithmetic with weights of a data type: 4-bit integers are converted to bf16."""
    return "bf16" if weights == "int4" else weights
