"""Dense peak throughput of an accelerator at a precision, or the reason why the value is
unavailable."""

from __future__ import annotations

import msgspec

from app.records.dtypes import COMPUTE_DTYPES
from app.records.offers import Accelerator
from app.records.plan import RejectionId


class Unavailable(msgspec.Struct, frozen=True):
    """Reason why a value is not available. `reason` states what is missing, or what to measure
    instead."""

    id: RejectionId
    reason: str


# precisions that the data sheets exclude; a missing value in the catalog only means "unknown"
_BEFORE_AMPERE = frozenset(("tf32", "bf16", "fp8", "fp4"))
_UNSUPPORTED_PRECISIONS = {
    "Pascal": _BEFORE_AMPERE,
    "Volta": _BEFORE_AMPERE,
    "Turing": _BEFORE_AMPERE,
    "Ampere": frozenset(("fp8", "fp4")),
    "Ada Lovelace": frozenset(("fp4",)),
    "Hopper": frozenset(("fp4",)),
    "CDNA 2": frozenset(("tf32", "fp8", "fp4")),
    "CDNA 3": frozenset(("fp4",)),
}


def format_accelerator_name(accelerator: Accelerator) -> str:
    return f"{accelerator.vendor} {accelerator.name}"


def lacks_precision(accelerator: Accelerator, dtype: str) -> bool:
    """Return whether the accelerator is known not to support the data type `dtype`; False if
    unknown."""
    return (
        dtype in _UNSUPPORTED_PRECISIONS.get(accelerator.architecture, ())
        and _get_peak_tflops(accelerator, dtype) is None
    )


def get_peak_ops_per_s(accelerator: Accelerator, dtype: str) -> float | Unavailable:
    """Return the dense peak throughput in operations per second at `dtype`, one of `COMPUTE_DTYPES`. Return
    `Unavailable` if the value is unknown or `dtype` is not supported.
    """
    if dtype not in COMPUTE_DTYPES:
        return Unavailable(
            "unknown_precision",
            f"the data type {dtype!r} is unknown for an accelerator's peak; use one of {', '.join(COMPUTE_DTYPES)}",
        )
    peak_tflops = _get_peak_tflops(accelerator, dtype)
    if peak_tflops is not None:
        return peak_tflops * 1e12
    if lacks_precision(accelerator, dtype):
        return Unavailable(
            "unsupported_precision",
            f"{format_accelerator_name(accelerator)} does not support {dtype}: choose a precision that it supports",
        )
    return Unavailable("unknown_figure", f"the dense {dtype} peak of {format_accelerator_name(accelerator)} is unknown")


def _get_peak_tflops(accelerator: Accelerator, dtype: str) -> float | None:
    return {
        "fp32": accelerator.fp32_tflops,
        "tf32": accelerator.tf32_tflops,
        "fp16": accelerator.fp16_tflops,
        "bf16": accelerator.bf16_tflops,
        "fp8": accelerator.fp8_tflops,
        "int8": accelerator.int8_tops,
        "fp4": accelerator.fp4_tflops,
    }[dtype]


def get_weights_peak_ops_per_s(accelerator: Accelerator, dtype: str) -> float | Unavailable:
    """Return the peak at which weights of a data type are multiplied, in operations per second: that of 16 bits if the
    accelerator has no units for the data type, as engines then convert the weights."""
    if dtype != "int4" and not lacks_precision(accelerator, dtype):
        peak = get_peak_ops_per_s(accelerator, dtype)
        if not isinstance(peak, Unavailable) or dtype != "bf16":
            return peak
    half = get_peak_ops_per_s(accelerator, "bf16")
    return get_peak_ops_per_s(accelerator, "fp16") if isinstance(half, Unavailable) else half
