"""Represent the arrivals of a stage as display text, as a comparison key, and as a rate curve.

A rate curve consists of points joined by straight lines. Before the first point and after the last
one, the rate is constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from app.analysis.columns import Floats
from app.analysis.number_format import format_number
from app.records.result import ArrivalKind, Stage
from app.records.stage import StageData

_PROCESS_NAMES: dict[ArrivalKind, str] = {"poisson": "Poisson", "constant": "constant", "gamma": "gamma"}


def format_process(kind: ArrivalKind, cv: float | None) -> str:
    """Return the display name of an open arrival process, such as "Poisson" or "gamma (CV 2)"."""
    return _PROCESS_NAMES[kind] + (f" (CV {cv:.4g})" if kind == "gamma" else "")


def format_search_arrivals(stage: Stage) -> str | None:
    """Describe the arrivals of a search stage, without the rate; `None` if the arrivals are
    unknown."""
    kind = stage.arrival_kind
    return stage.arrivals if kind is None or kind not in _PROCESS_NAMES else format_process(kind, stage.arrival_cv)


def build_arrivals_key(stage: Stage) -> tuple[object, ...]:
    """Return a key that is equal for stages with the same arrivals.

    Numbers are rounded to 4 significant digits, because a rate defined as a share of an earlier
    stage's rate differs slightly from run to run. The key contains the rates and jumps of a rate
    curve, but not their times, because stages may differ in duration.
    """
    rate_per_s = stage.scheduled_per_s
    curve = tuple(
        (_round(rate), index > 0 and stage.rates[index - 1][0] == time_s)
        for index, (time_s, rate) in enumerate(stage.rates)
        if rate_per_s is None
    )
    client_settings = (stage.concurrency, _round(stage.think_s))
    return (
        *build_process_key(stage),
        _round(rate_per_s),
        stage.sessions,
        stage.kind == "spike",
        curve,
        *client_settings,
    )


def build_process_key(stage: Stage) -> tuple[object, ...]:
    """Return a key that is equal for stages of the same arrival process, whatever their rates."""
    return stage.arrival_kind, _round(stage.arrival_cv)


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def format_arrivals(stage_data: StageData) -> str:
    """Describe the arrivals of a stage, such as "Poisson at 200 req/s" or "Poisson, ramp 10→200
    req/s"."""
    if stage_data.arrival_kind == "trace":
        return "trace replay"
    if stage_data.arrival_kind == "batch":
        return "batch"
    if stage_data.is_closed_loop:
        return _describe_clients(stage_data)
    process_name = format_process(stage_data.arrival_kind, stage_data.cv)
    unit = "sessions/s" if stage_data.sessions else "req/s"
    if stage_data.rate_per_s is not None:
        return f"{process_name} at {format_number(stage_data.rate_per_s)} {unit}"
    return f"{process_name}, {_describe_curve(stage_data, unit)}"


def _describe_clients(stage_data: StageData) -> str:
    plural_suffix = "" if stage_data.concurrency == 1 else "s"
    client_noun = f"Locust user{plural_suffix}" if stage_data.arrival_kind == "locust" else f"client{plural_suffix}"
    count_text = "" if stage_data.concurrency is None else f"{stage_data.concurrency:,} "
    think_time_text = f", {stage_data.think_s:.4g} s think time" if stage_data.think_s else ""
    return f"closed loop, {count_text}{client_noun}{think_time_text}"


def _describe_curve(stage_data: StageData, unit: str) -> str:
    rates = [rate for _, rate in stage_data.rates]
    if not rates:
        return "varying rate"
    if stage_data.kind == "spike":
        return f"spike {format_number(rates[0])}→{format_number(max(rates))}→{format_number(rates[-1])} {unit}"
    if _is_stepped(stage_data):
        step_rates = [rate for index, rate in enumerate(rates) if index == 0 or rate != rates[index - 1]]
        if len(step_rates) <= 6:
            return f"steps {'→'.join(format_number(rate) for rate in step_rates)} {unit}"
    elif len(rates) == 2:
        return f"ramp {format_number(rates[0])}→{format_number(rates[1])} {unit}"
    return f"varying from {format_number(min(rates))} to {format_number(max(rates))} {unit}"


def _is_stepped(stage_data: StageData) -> bool:
    """Return True if the rate is piecewise constant."""
    points = stage_data.rates
    return all(point[1] == next_point[1] or point[0] == next_point[0] for point, next_point in pairwise(points))


@dataclass(frozen=True)
class RateCurve:
    """A piecewise linear rate over time. `times_s` is in seconds from the start of the stage,
    `rates_per_s` in requests per second. Two points with the same time represent a step."""

    times_s: Floats
    rates_per_s: Floats

    def compute_expected_arrivals(self, until_s: Floats) -> Floats:
        """Compute the expected number of arrivals between the start of the stage and each time in
        `until_s` (at least 0)."""
        last_s = float(max(until_s.max(initial=0.0), self.times_s[-1])) + 1.0
        point_times_s = np.concatenate(([min(0.0, self.times_s[0])], self.times_s, [last_s]))
        rates_per_s = np.concatenate((self.rates_per_s[:1], self.rates_per_s, self.rates_per_s[-1:]))
        durations_s = np.diff(point_times_s)
        cumulative_areas = np.concatenate(([0.0], np.cumsum(durations_s * (rates_per_s[1:] + rates_per_s[:-1]) / 2)))
        slopes = np.divide(np.diff(rates_per_s), durations_s, out=np.zeros_like(durations_s), where=durations_s > 0)

        def compute_areas(times_s: Floats) -> Floats:
            segment_indices = np.clip(
                np.searchsorted(point_times_s, times_s, side="right") - 1, 0, durations_s.size - 1
            )
            offsets_s = times_s - point_times_s[segment_indices]
            return np.asarray(
                cumulative_areas[segment_indices]
                + offsets_s * (rates_per_s[segment_indices] + slopes[segment_indices] * offsets_s / 2)
            )

        return np.asarray(compute_areas(until_s) - compute_areas(np.zeros(1)))


def build_rate_curve(stage_data: StageData) -> RateCurve | None:
    """Build the rate curve of a stage; `None` if the arrivals do not follow a rate curve (traces,
    closed loops, Locust users)."""
    points: Sequence[tuple[float, float]] = stage_data.rates
    if not points and stage_data.rate_per_s is not None:
        points = ((0.0, stage_data.rate_per_s),)
    if not points or stage_data.arrival_kind in ("trace", "closed", "locust", "batch"):
        return None
    times_s, rates_per_s = zip(*points, strict=True)
    return RateCurve(np.array(times_s, dtype=np.float64), np.array(rates_per_s, dtype=np.float64))
