from __future__ import annotations

import numpy as np

from app.gui.charts.axes import Axis
from app.gui.charts.series import make_series
from app.gui.charts.view_series import ViewSeries

X, Y = Axis("Time", "s"), Axis("Latency", "ms")


def make_view(x: object, y: object) -> ViewSeries:
    return ViewSeries(make_series("p99", "p99", "line", 0, x, y), X, Y)


def test_downsampled_line_has_the_extremes_of_all_samples() -> None:
    samples = np.ones(36_000)
    samples[12_345], samples[23_456] = 99.0, -7.0
    x, y = make_view(np.arange(36_000.0), samples).downsample(0, 36_000, 800)
    assert len(x) <= 2 * 800
    assert (y.max(), y.min()) == (99.0, -7.0)
    assert abs(x[y.argmax()] - 12_345) <= 36_000 / 400


def test_downsampled_line_covers_the_view_and_one_sample_beyond_each_edge() -> None:
    x, _ = make_view(np.arange(1000.0), np.arange(1000.0)).downsample(99.5, 110.5, 800)
    assert x.tolist() == [*range(99, 112)]


def test_downsampled_line_has_long_gaps_and_bridges_single_lost_samples() -> None:
    samples = np.ones(36_000)
    samples[10_000:12_000] = np.nan
    samples[20_000] = np.nan
    x, y = make_view(np.arange(36_000.0), samples).downsample(0, 36_000, 800)
    gap = x[np.isnan(y)]
    assert gap.min() >= 10_000
    assert gap.max() < 12_000


def test_unsorted_line_is_not_downsampled() -> None:
    x, y = make_view([3.0, 1.0, 2.0], [1.0, 2.0, 3.0]).downsample(1.5, 1.6, 800)
    assert (x.tolist(), y.tolist()) == ([3.0, 1.0, 2.0], [1.0, 2.0, 3.0])


def test_sample_between_two_gaps_has_a_marker() -> None:
    samples = np.full(100, np.nan)
    samples[[33, 71]] = 5.0
    samples[50:60] = 1.0
    marked = make_view(np.arange(100.0), samples).marker_indices(0, 100).tolist()
    assert {33, 71} <= set(marked)
    assert len(marked) < 8


def test_stepped_line_repeats_each_value_up_to_the_next_sample() -> None:
    stepped = ViewSeries(make_series("offered", "offered", "line", 0, [0.0, 1.0], [5.0, 9.0], is_stepped=True), X, Y)
    x, y = stepped.downsample(0, 1, 800)
    assert (x.tolist(), y.tolist()) == ([0.0, 1.0, 1.0], [5.0, 5.0, 9.0])


def test_named_line_has_markers_only_if_it_has_few_samples() -> None:
    line = make_view(np.arange(100.0), np.ones(100))
    assert len(line.marker_indices(0, 100, is_named=False)) == 8, "or it would differ from others by color only"
    assert len(line.marker_indices(0, 100, is_named=True)) == 0
    assert len(line.marker_indices(0, 9, is_named=True)) == 10
