"""What a card does at the most by its data sheet: with dense matrices, at a clock and power it may not hold."""

from __future__ import annotations

from typing import Literal

from app.records.local import Peaks
from app.records.offers import Accelerator

Arithmetic = Literal["fp32", "fp16", "int8"]


def card_peaks(accelerator: Accelerator, arithmetic: Arithmetic) -> Peaks:
    """Of fp32 without tensor cores, which a runtime that rounds its factors to TF32 exceeds."""
    tera_per_s = {"fp32": accelerator.fp32_tflops, "fp16": accelerator.fp16_tflops, "int8": accelerator.int8_tops}
    peak, bandwidth_gb_s = tera_per_s[arithmetic], accelerator.memory_bandwidth_gb_s
    return Peaks(
        name=f"{accelerator.vendor} {accelerator.name}",
        flops_per_s=None if peak is None else peak * 1e12,
        bytes_per_s=None if bandwidth_gb_s is None else bandwidth_gb_s * 1e9,
        basis="assumed",
        source=accelerator.source,
    )
