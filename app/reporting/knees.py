"""The knees of a sweep."""

from __future__ import annotations

from app.analysis.knee import are_apart
from app.records.result import Estimate, Knee, Result
from app.reporting.quantities import quantity
from reports import model

_METHODS = {
    "power": "power (most throughput for its latency, Kleinrock)",
    "chord": "chord (farthest below the line from first to last, Kneedle)",
    "two lines": "two lines (where they fit the logarithm of latency best)",
}


def knee_section(result: Result) -> model.KneeSection | None:
    """None without a sweep."""
    if not result.knees:
        return None
    note = None
    if are_apart(result.knees):
        note = "The methods disagree by more than 30 %: latency bends slowly here, and there is no one knee."
    return model.KneeSection(rows=tuple(map(_row, result.knees)), note=note)


def _row(knee: Knee) -> model.KneeRow:
    unit = "1/s" if knee.load == "rate" else "clients"
    return model.KneeRow(
        method=_METHODS[knee.method],
        name=knee.method,
        at=quantity(Estimate(knee.at, reason=knee.reason), unit),
        latency=quantity(Estimate(knee.latency_ms, reason=knee.reason), "ms"),
    )
