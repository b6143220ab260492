"""How much a short run on a server narrows the prediction of its other loads.

Each group (a model, a GPU type) is predicted by a model and intervals that know nothing of it. The loads with the
lowest numbers of clients of each curve are then revealed, and the other loads of the curve are predicted again.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from app.planning.step_times.calibration import LogIntervals, condition, correlate_loads
from app.planning.step_times.estimate import LatencyEstimate
from app.planning.step_times.intervals import METRICS, Z_LEVEL, Novelty
from app.planning.step_times.model import Metric
from app.planning.step_times.positive_sum import Floats, Indices
from app.planning.step_times.published import PublishedLoops, find_curve
from tests.studies.published_folds import estimate_groups

FOLDS: tuple[Novelty, ...] = ("model", "gpu")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Measured times of loads, with p10, p50 and p90 of their predictions, in s."""

    measured: Floats
    p10: Floats
    p50: Floats
    p90: Floats

    @property
    def median_error(self) -> float:
        return float(np.median(np.abs(self.p50 / self.measured - 1)))

    @property
    def median_width(self) -> float:
        return float(np.median(self.p90 / self.p10))

    @property
    def coverage(self) -> float:
        return float(np.mean((self.measured >= self.p10) & (self.measured <= self.p90)))


def report_reveal(published: PublishedLoops, revealed: int) -> Iterator[str]:
    """Return the lines of the table, before and after `revealed` loads of each curve are revealed."""
    yield "| left out | metric | loads | curves | | median error | p90 / p10 | 80 % covers |"
    yield "|---|---|---|---|---|---|---|---|"
    for fold in FOLDS:
        estimate = estimate_groups(published, fold)
        for metric in METRICS:
            curves = list_curves(published, revealed)
            before, after = reveal(published, estimate, metric, curves, revealed)
            for name, predicted in (("before", before), ("after", after)):
                yield (
                    f"| {fold} | {metric.upper()} | {predicted.measured.size} | {len(curves)} | {name} "
                    f"| {predicted.median_error:.1%} | {predicted.median_width:.2f} | {predicted.coverage:.0%} |"
                )


def list_curves(published: PublishedLoops, revealed: int) -> list[Indices]:
    """Return the indices of the points of each curve with more loads than `revealed`, in order of clients."""
    rows = defaultdict(list)
    for index, point in enumerate(published.points):
        rows[find_curve(point)].append(index)
    return [
        np.array(sorted(indices, key=lambda index: published.points[index].clients), dtype=np.intp)
        for indices in rows.values()
        if len({published.points[index].clients for index in indices}) > revealed
    ]


def reveal(
    published: PublishedLoops, estimate: LatencyEstimate, metric: Metric, curves: Sequence[Indices], revealed: int
) -> tuple[Predicted, Predicted]:
    """Return the predictions of the loads that are not revealed, before and after the others are."""
    measured = published.tpot_s if metric == "tpot" else published.ttft_s
    before, after = [], []
    for curve in curves:
        rest = curve[revealed:]
        prior = LogIntervals.from_bounds(estimate.p10[metric][curve], estimate.p90[metric][curve])
        clients = published.loops.clients[curve]
        posterior = calibrate_curve(prior, clients, np.arange(revealed), measured[curve[:revealed]])
        before.append(np.array([measured[rest], *(part[metric][rest] for part in _list_parts(estimate))]))
        quantiles = [posterior.compute_quantile(z)[revealed:] for z in (-Z_LEVEL, 0.0, Z_LEVEL)]
        after.append(np.array([measured[rest], *quantiles]))
    return Predicted(*np.hstack(before)), Predicted(*np.hstack(after))


def calibrate_curve(prior: LogIntervals, clients: Floats, measured: Indices, measured_s: Floats) -> LogIntervals:
    """Return the distributions of all loads of one server, given the measured times of some of them.

    `clients` is the number of requests at once of each load; `measured` has the indices of the measured loads, whose
    times are `measured_s`. A measured load has its own noise, so that its interval does not vanish.
    """
    loads = np.log2(clients)
    return condition(prior, correlate_loads(loads[:, None], loads[None, :]), measured, measured_s)


def _list_parts(estimate: LatencyEstimate) -> tuple[dict[Metric, Floats], ...]:
    return tuple(dict(part) for part in (estimate.p10, estimate.p50, estimate.p90))
