from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from app.analysis.published_points import load_published_points
from app.planning.step_times.estimate import LatencyEstimate
from app.planning.step_times.intervals import METRICS, Z_LEVEL
from app.planning.step_times.model import Metric
from app.planning.step_times.positive_sum import Floats
from app.planning.step_times.published import PublishedLoops, find_curve
from tests.studies.published_folds import build_loops
from tests.studies.published_reveal import list_curves, reveal

BIAS, SIGMA = 1.3, 0.3


def load_curves(lengths: tuple[int, ...]) -> PublishedLoops:
    """Return a published curve of each length, with the loads of each in the wrong order."""
    by_curve = defaultdict(list)
    for point in load_published_points():
        by_curve[find_curve(point)].append(point)
    points = []
    for length in lengths:
        curve = next(
            curve for curve, members in by_curve.items() if len({point.clients for point in members}) == length
        )
        points += sorted(by_curve.pop(curve), key=lambda point: -point.clients)
    return build_loops(points)


def estimate_with_bias(published: PublishedLoops) -> LatencyEstimate:
    """Return an estimate that is off by the same factor at every load."""
    p50: dict[Metric, Floats] = {"tpot": BIAS * published.tpot_s, "ttft": BIAS * published.ttft_s}
    low, high = ({metric: p50[metric] * np.exp(z * SIGMA) for metric in METRICS} for z in (-Z_LEVEL, Z_LEVEL))
    return LatencyEstimate(low, p50, high)


def test_curves_have_more_loads_than_revealed_sorted_by_clients() -> None:
    published = load_curves((2, 4, 5))
    curves = list_curves(published, 2)
    assert [len({published.points[index].clients for index in curve}) for curve in curves] == [4, 5]
    for curve in curves:
        clients = [published.points[index].clients for index in curve]
        assert clients == sorted(clients)


@pytest.mark.parametrize("metric", METRICS)
def test_revealed_loads_reduce_error_and_interval_width_of_the_other_loads(metric: Metric) -> None:
    published = load_curves((4, 5))
    curves = list_curves(published, 2)
    before, after = reveal(published, estimate_with_bias(published), metric, curves, 2)
    assert before.measured.size == after.measured.size == sum(len(curve) - 2 for curve in curves)
    measured = published.tpot_s if metric == "tpot" else published.ttft_s
    assert np.array_equal(after.measured, np.concatenate([measured[curve[2:]] for curve in curves]))
    assert before.median_error == pytest.approx(BIAS - 1)
    assert before.median_width == pytest.approx(np.exp(2 * Z_LEVEL * SIGMA))
    assert after.median_error < 0.5 * before.median_error
    assert after.median_width < 0.8 * before.median_width
    assert before.coverage == after.coverage == 1.0


def test_too_narrow_intervals_have_coverage_0() -> None:
    published = load_curves((4,))
    exact: dict[Metric, Floats] = {"tpot": BIAS * published.tpot_s, "ttft": BIAS * published.ttft_s}
    narrow = LatencyEstimate(exact, exact, {metric: 1.001 * exact[metric] for metric in METRICS})
    before, _ = reveal(published, narrow, "tpot", list_curves(published, 2), 2)
    assert before.coverage == 0.0
