"""Compute the intended start time of each request of a stage, as pure functions of the plan and its seed.

Arrivals for any rate curve are a unit-rate process with its time axis stretched: the n-th start is where the area under
the curve equals the process's n-th time (for Poisson: Çinlar, Introduction to Stochastic Processes, 1975).
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
    """Return the intended start times in ns, relative to the start of measurement, in ascending order.

    They range from -`lead_in_s` (included) to `duration_s` (excluded). The lead-in of a trace consists of the trace's
    own arrivals before its time 0, if it has any.
    """
    if isinstance(arrivals, TraceArrivals):
        offsets = np.frombuffer(arrivals.offsets_ns, "<i8").astype(np.int64)
    else:
        offsets = _open(arrivals, duration_s, lead_in_s, np.random.default_rng(seed))
    return offsets[(offsets >= -round(lead_in_s * 1e9)) & (offsets < round(duration_s * 1e9))]


def _open(arrivals: OpenArrivals, duration_s: float, lead_in_s: float, rng: np.random.Generator) -> Offsets:
    times, rates = clip_rate_curve(arrivals.rates, -lead_in_s, duration_s)
    areas = np.concatenate(([0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)))
    process = _process(arrivals.process, arrivals.cv, float(areas[-1]), rng)
    return np.rint(_times_at(process[process < areas[-1]], times, rates, areas) * 1e9).astype(np.int64)


def clip_rate_curve(rates: Rates, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    """Return the times and rates of the curve's points from `start_s` to `end_s`.

    The first and the last rate of the curve also apply before and after it.
    """
    times, values = np.array([at for at, _ in rates]), np.array([rate for _, rate in rates])
    inside = (times > start_s) & (times < end_s)
    first, last = _rate_after(start_s, times, values), _rate_before(end_s, times, values)
    return np.concatenate(([start_s], times[inside], [end_s])), np.concatenate(([first], values[inside], [last]))


def clip_rates(rates: Rates, start_s: float, end_s: float) -> Rates:
    times, values = clip_rate_curve(rates, start_s, end_s)
    return tuple(zip(times.tolist(), values.tolist(), strict=True))


def _rate_after(at_s: float, times: Floats, values: Floats) -> float:
    """Return the rate just after `at_s`; at a jump, this is the rate after the jump."""
    index = int(np.searchsorted(times, at_s, side="right"))
    return _between(at_s, index, times, values)


def _rate_before(at_s: float, times: Floats, values: Floats) -> float:
    index = int(np.searchsorted(times, at_s, side="left"))
    return _between(at_s, index, times, values)


def _between(at_s: float, index: int, times: Floats, values: Floats) -> float:
    if index == 0 or index == len(times):
        return float(values[min(index, len(times) - 1)])
    share = (at_s - times[index - 1]) / (times[index] - times[index - 1])
    return float(values[index - 1] + share * (values[index] - values[index - 1]))


def _process(
    kind: Literal["constant", "poisson", "gamma"], cv: float, until: float, rng: np.random.Generator
) -> Floats:
    """Return the arrival times of a process with one arrival per unit of time; the last is at or after `until`."""
    if kind == "constant":
        return np.arange(int(until) + 2, dtype=np.float64)
    shape = 1.0 if kind == "poisson" else cv**-2
    size = int(until + 5 * (until / shape) ** 0.5) + 16
    blocks = [np.cumsum(_gaps(kind, shape, size, rng))]
    while blocks[-1][-1] < until:
        blocks.append(blocks[-1][-1] + np.cumsum(_gaps(kind, shape, size, rng)))
    return np.concatenate(blocks)


def _gaps(kind: str, shape: float, size: int, rng: np.random.Generator) -> Floats:
    return rng.exponential(1.0, size) if kind == "poisson" else rng.gamma(shape, 1 / shape, size)


def _times_at(target_areas: Floats, times: Floats, rates: Floats, areas: Floats) -> Floats:
    """Return the times at which the area under the curve reaches `target_areas`.

    Within a segment this solves rate × t + slope × t² / 2 = area for t.
    """
    segment = np.clip(np.searchsorted(areas, target_areas, side="right") - 1, 0, len(times) - 2)
    length = np.diff(times)
    slopes = np.divide(np.diff(rates), length, out=np.zeros_like(length), where=length > 0)
    area, rate, slope = target_areas - areas[segment], rates[segment], slopes[segment]
    # This form of the root does not lose digits when the slope is small.
    root = rate + np.sqrt(np.maximum(rate**2 + 2 * slope * area, 0))
    return times[segment] + np.divide(2 * area, root, out=np.zeros_like(area), where=root > 0)
