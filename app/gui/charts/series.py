"""Data series of a chart as plain records, independent of the renderer."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.pens import Category

SeriesKind = Literal["line", "points"]


class Series(msgspec.Struct, frozen=True, eq=False):
    """Data series of a chart. `hollow_flags` has one entry per sample, which is true if the marker
    of the sample is not filled."""

    key: str
    label: str
    kind: SeriesKind
    style_index: int
    x: Floats
    y: Floats
    hollow_flags: np.ndarray | None = None
    names: tuple[str, ...] = ()
    is_stepped: bool = False
    is_sorted: bool = True
    category: Category | None = None
    """Color and marker of points; None for those of `style_index`."""

    def covers(self, x: float) -> bool:
        """Return whether `x` lies within the x range of the samples, extended on both sides by the
        mean sample spacing. A series that is unsorted or has one sample covers every `x`."""
        if not len(self.x) or not self.is_sorted:
            return len(self.x) > 0
        spacing = (self.x[-1] - self.x[0]) / max(len(self.x) - 1, 1)
        return bool(self.x[0] - spacing <= x <= self.x[-1] + spacing) or len(self.x) == 1

    def nearest_index(self, x: float) -> int | None:
        """Return the index of the sample nearest to `x` or, for a stepped line, of the sample in
        effect at `x`. Return None if there is no sample."""
        if not len(self.x) or not np.isfinite(x):
            return None
        if not self.is_sorted:
            distances = np.abs(self.x - x)
            return None if np.isnan(distances).all() else int(np.nanargmin(distances))
        index = int(np.searchsorted(self.x, x, side="right"))
        if self.is_stepped or index == 0 or index == len(self.x):
            return min(max(index - 1, 0), len(self.x) - 1)
        return index if self.x[index] - x < x - self.x[index - 1] else index - 1

    def neighbor_x(self, x: float, *, is_after: bool) -> float | None:
        """Return the x value of the next sample after `x`, or of the previous sample if `is_after`
        is false. Return None if there is no such sample."""
        if not self.is_sorted:
            candidates = self.x[self.x > x] if is_after else self.x[self.x < x]
            return None if not len(candidates) else float(candidates.min() if is_after else candidates.max())
        index = int(np.searchsorted(self.x, x, side="right")) if is_after else int(np.searchsorted(self.x, x)) - 1
        return float(self.x[index]) if 0 <= index < len(self.x) else None

    def is_hollow(self, index: int) -> bool:
        return self.hollow_flags is not None and bool(self.hollow_flags[index])


class Bounds(msgspec.Struct, frozen=True):
    """Range of the data on both axes. The ends of an axis are NaN if there is no data."""

    x0: float
    x1: float
    y0: float
    y1: float


def make_series(
    key: str,
    label: str,
    kind: SeriesKind,
    style_index: int,
    x: object,
    y: object,
    *,
    hollow_flags: object = None,
    names: tuple[str, ...] = (),
    is_stepped: bool = False,
    category: Category | None = None,
) -> Series:
    """Build a series from copies of the data, so that the caller may reuse its arrays.

    Raises `ValueError` if the lengths differ.
    """
    xs, ys = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    flag_array = None if hollow_flags is None else np.array(hollow_flags, dtype=bool)
    if xs.ndim != 1 or any(array is not None and array.shape != xs.shape for array in (ys, flag_array)):
        raise ValueError(f"{key}: all arrays of a series must have the same length")
    is_sorted = bool(np.all(xs[1:] >= xs[:-1]))
    return Series(key, label, kind, style_index, xs, ys, flag_array, names, is_stepped, is_sorted, category)


def compute_bounds(series: Series, x_axis: Axis, y_axis: Axis) -> Bounds:
    """Return the range of a series on both axes, in view coordinates; NaN if there is no data."""
    return Bounds(*_finite_range(x_axis.to_view(series.x)), *_finite_range(y_axis.to_view(series.y)))


def union_bounds(bounds: list[Bounds]) -> Bounds:
    ends = np.array(
        [[series_bounds.x0, series_bounds.x1, series_bounds.y0, series_bounds.y1] for series_bounds in bounds]
    ).reshape(-1, 4)
    reduce_min, reduce_max = np.fmin.reduce, np.fmax.reduce
    if not len(ends):
        return Bounds(np.nan, np.nan, np.nan, np.nan)
    return Bounds(
        float(reduce_min(ends[:, 0])),
        float(reduce_max(ends[:, 1])),
        float(reduce_min(ends[:, 2])),
        float(reduce_max(ends[:, 3])),
    )


def _finite_range(positions: Floats) -> tuple[float, float]:
    finite_positions = positions[np.isfinite(positions)]
    return (float(finite_positions.min()), float(finite_positions.max())) if len(finite_positions) else (np.nan, np.nan)
