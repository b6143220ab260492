"""Compute the scheduled start of each request of a stage, as pure functions of the plan and its
seed.

Arrivals with a rate curve are a time-rescaled process with rate 1: at the n-th scheduled start, the
area under the rate curve equals the n-th arrival time of the process with rate 1 (for Poisson:
Çinlar, Introduction to Stochastic Processes, 1975).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from loadgen.records import OpenArrivals, TraceArrivals

Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rates = tuple[tuple[float, float], ...]


def compute_offsets_ns(
    arrivals: OpenArrivals | TraceArrivals, duration_s: float, lead_in_s: float, seed: int
) -> Offsets:
    """Return the scheduled starts in ns, relative to the start of the measurement window of the
    stage, in ascending order.

    The scheduled starts range from -`lead_in_s` (inclusive) to `duration_s` (exclusive). The
    lead-in of a trace consists of the recorded arrivals before time 0, if any.
    """
    if isinstance(arrivals, TraceArrivals):
        offsets = np.frombuffer(arrivals.offsets_ns, "<i8").astype(np.int64)
    else:
        offsets = _compute_open_offsets_ns(arrivals, duration_s, lead_in_s, np.random.default_rng(seed))
    return offsets[(offsets >= -round(lead_in_s * 1e9)) & (offsets < round(duration_s * 1e9))]


def _compute_open_offsets_ns(
    arrivals: OpenArrivals, duration_s: float, lead_in_s: float, rng: np.random.Generator
) -> Offsets:
    times, rates = clip_rate_curve(arrivals.rates, -lead_in_s, duration_s)
    areas = np.concatenate(([0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)))
    unit_times = _draw_unit_process(arrivals.process, arrivals.cv, float(areas[-1]), rng)
    due_areas = unit_times[unit_times < areas[-1]]
    return np.rint(_find_times_at_areas(due_areas, times, rates, areas) * 1e9).astype(np.int64)


def clip_rate_curve(rates: Rates, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    """Return the times (in s) and rates (per s) of the points of a rate curve, clipped to the range
    from `start_s` to `end_s`.

    The clipped curve has a point at `start_s` and a point at `end_s`. The rate is constant before
    the first and after the last point of `rates`.
    """
    times, values = np.array([time_s for time_s, _ in rates]), np.array([rate for _, rate in rates])
    is_inside = (times > start_s) & (times < end_s)
    start_rate, end_rate = _compute_rate_after(start_s, times, values), _compute_rate_before(end_s, times, values)
    clipped_times = np.concatenate(([start_s], times[is_inside], [end_s]))
    return clipped_times, np.concatenate(([start_rate], values[is_inside], [end_rate]))


def clip_rates(rates: Rates, start_s: float, end_s: float) -> Rates:
    times, values = clip_rate_curve(rates, start_s, end_s)
    return tuple(zip(times.tolist(), values.tolist(), strict=True))


def _compute_rate_after(time_s: float, times: Floats, rates: Floats) -> float:
    """Return the rate of a rate curve immediately after `time_s`, which is the new rate if the
    curve jumps at `time_s`."""
    index = int(np.searchsorted(times, time_s, side="right"))
    return _interpolate_rate(time_s, index, times, rates)


def _compute_rate_before(time_s: float, times: Floats, rates: Floats) -> float:
    index = int(np.searchsorted(times, time_s, side="left"))
    return _interpolate_rate(time_s, index, times, rates)


def _interpolate_rate(time_s: float, index: int, times: Floats, rates: Floats) -> float:
    if index == 0 or index == len(times):
        return float(rates[min(index, len(times) - 1)])
    fraction = (time_s - times[index - 1]) / (times[index] - times[index - 1])
    return float(rates[index - 1] + fraction * (rates[index] - rates[index - 1]))


def _draw_unit_process(
    process: Literal["constant", "poisson", "gamma"], cv: float, end: float, rng: np.random.Generator
) -> Floats:
    """Return the arrival times of a process with rate 1 from time 0 to `end`, and at least one
    later arrival time."""
    if process == "constant":
        return np.arange(int(end) + 2, dtype=np.float64)
    shape = 1.0 if process == "poisson" else cv**-2
    size = int(end + 5 * (end / shape) ** 0.5) + 16
    blocks = [np.cumsum(_draw_gaps(process, shape, size, rng))]
    while blocks[-1][-1] < end:
        blocks.append(blocks[-1][-1] + np.cumsum(_draw_gaps(process, shape, size, rng)))
    return np.concatenate(blocks)


def _draw_gaps(process: str, shape: float, size: int, rng: np.random.Generator) -> Floats:
    return rng.exponential(1.0, size) if process == "poisson" else rng.gamma(shape, 1 / shape, size)


def _find_times_at_areas(target_areas: Floats, times: Floats, rates: Floats, areas: Floats) -> Floats:
    """Return the times at which the area under a rate curve reaches each of `target_areas`.

    Within a segment of the curve, solve rate × t + slope × t² / 2 = area for t.
    """
    segment_indices = np.clip(np.searchsorted(areas, target_areas, side="right") - 1, 0, len(times) - 2)
    durations = np.diff(times)
    slopes = np.divide(np.diff(rates), durations, out=np.zeros_like(durations), where=durations > 0)
    remaining_areas, start_rates, segment_slopes = (
        target_areas - areas[segment_indices],
        rates[segment_indices],
        slopes[segment_indices],
    )
    # This form of the quadratic formula is numerically stable for small slopes.
    denominators = start_rates + np.sqrt(np.maximum(start_rates**2 + 2 * segment_slopes * remaining_areas, 0))
    return times[segment_indices] + np.divide(
        2 * remaining_areas, denominators, out=np.zeros_like(remaining_areas), where=denominators > 0
    )
