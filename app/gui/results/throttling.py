"""When a GPU's clocks were held back, as bands over the run's time."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from app.gui.formatting import State
from app.records.gpu import throttle_names

if TYPE_CHECKING:
    import pandas as pd

REASONS = "gpu_throttle_reasons"


def throttle_bands(telemetry: pd.DataFrame, start_ns: int) -> tuple[tuple[float, float, str, State], ...]:
    """One a stretch of readings of a GPU with the same reasons; seconds from the start of the run."""
    read = telemetry[telemetry["metric"] == REASONS]
    found: list[tuple[float, float, str, State]] = []
    for source, of_gpu in read.groupby("source", observed=True):
        ordered = of_gpu.sort_values("at_ns").dropna(subset=["value"])
        pairs = zip(ordered["at_ns"], ordered["value"], strict=True)
        readings = [(at_ns, throttle_names(bits)) for at_ns, bits in pairs]
        for reasons, stretch in groupby(readings, key=lambda one: one[1]):
            times_s = [(at_ns - start_ns) / 1e9 for at_ns, _ in stretch]
            if reasons:
                words = "{gpu} held back: {reasons}".format(gpu=source, reasons=", ".join(reasons))
                found.append((times_s[0], times_s[-1], words, "warn"))
    return tuple(found)
