from __future__ import annotations

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.series import make_series
from app.gui.charts.view_series import ViewSeries

X, Y = Axis("Time", "s"), Axis("Latency", "ms")


def placed(x: object, y: object) -> ViewSeries:
    return ViewSeries(make_series("p99", "p99", "line", 0, x, y), X, Y)


def test_a_long_line_keeps_every_peak() -> None:
    samples = np.ones(36_000)
    samples[12_345], samples[23_456] = 99.0, -7.0
    x, y = placed(np.arange(36_000.0), samples).downsample(0, 36_000, 800)
    assert len(x) <= 2 * 800
    assert (y.max(), y.min()) == (99.0, -7.0)
    assert abs(x[y.argmax()] - 12_345) <= 36_000 / 400


def test_only_what_is_in_view_is_drawn_with_one_sample_more_on_each_side() -> None:
    x, _ = placed(np.arange(1000.0), np.arange(1000.0)).downsample(99.5, 110.5, 800)
    assert x.tolist() == [*range(99, 112)]


def test_a_long_gap_stays_a_gap_and_a_lost_sample_does_not_tear_a_thinned_line() -> None:
    samples = np.ones(36_000)
    samples[10_000:12_000] = np.nan
    samples[20_000] = np.nan
    x, y = placed(np.arange(36_000.0), samples).downsample(0, 36_000, 800)
    gap = x[np.isnan(y)]
    assert gap.min() >= 10_000
    assert gap.max() < 12_000


def test_an_unsorted_line_is_drawn_as_it_is() -> None:
    x, y = placed([3.0, 1.0, 2.0], [1.0, 2.0, 3.0]).downsample(1.5, 1.6, 800)
    assert (x.tolist(), y.tolist()) == ([3.0, 1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_sample_alone_between_gaps_has_a_marker() -> None:
    samples = np.full(100, np.nan)
    samples[[33, 71]] = 5.0
    samples[50:60] = 1.0
    marked = placed(np.arange(100.0), samples).marker_indices(0, 100).tolist()
    assert {33, 71} <= set(marked)
    assert len(marked) < 8


def test_a_stepped_line_holds_each_value_until_the_next() -> None:
    stepped = ViewSeries(make_series("offered", "offered", "line", 0, [0.0, 1.0], [5.0, 9.0], is_stepped=True), X, Y)
    x, y = stepped.downsample(0, 1, 800)
    assert (x.tolist(), y.tolist()) == ([0.0, 1.0, 1.0], [5.0, 5.0, 9.0])


def test_a_named_line_has_markers_only_where_its_samples_are_few() -> None:
    line = placed(np.arange(100.0), np.ones(100))
    assert len(line.marker_indices(0, 100, is_named=False)) == 8, "or it would differ from others by color only"
    assert len(line.marker_indices(0, 100, is_named=True)) == 0
    assert len(line.marker_indices(0, 9, is_named=True)) == 10
