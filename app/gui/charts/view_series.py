"""Data series in view coordinates, downsampled to the resolution of the screen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.series import Series

_MAX_MARKERS = 8
_MAX_MARKED_SAMPLES = 40
_MAX_ISOLATED_SAMPLES = 200
_PX_PER_DASHED_SAMPLE = 4.0


class ViewSeries:
    """Line in view coordinates, without samples that have no x position."""

    def __init__(self, series: Series, x_axis: Axis, y_axis: Axis) -> None:
        self.series = series
        x_view = x_axis.to_view(series.x)
        x_mask = np.isfinite(x_view)
        is_complete = bool(x_mask.all())
        self.x = x_view if is_complete else x_view[x_mask]
        self.y = y_axis.to_view(series.y) if is_complete else y_axis.to_view(series.y)[x_mask]

    def visible_slice(self, low: float, high: float) -> slice:
        """Return the slice of the samples between two x positions, plus one sample on each side.
        For an unsorted series, return the slice of all samples."""
        if not self.series.is_sorted:
            return slice(0, len(self.x))
        start = int(np.searchsorted(self.x, low)) - 1
        end = int(np.searchsorted(self.x, high, side="right")) + 1
        return slice(max(start, 0), min(end, len(self.x)))

    def is_dense(self, low: float, high: float, width_px: float) -> bool:
        """Return whether the samples are too dense for a dashed line."""
        # Dashes would look like noise, so the line is drawn solid and is identified by its markers.
        view_slice = self.visible_slice(low, high)
        return bool((view_slice.stop - view_slice.start) * _PX_PER_DASHED_SAMPLE > width_px)

    def downsample(self, low: float, high: float, width_px: float) -> tuple[Floats, Floats]:
        """Return the x and y values of the line to draw. Dense sorted samples are reduced to the
        minimum and the maximum of each bucket, at most two values per pixel."""
        view_slice = self.visible_slice(low, high)
        if self.series.is_sorted:
            size = bucket_size(view_slice.stop - view_slice.start, width_px)
            if size > 1:
                return min_max_points(self.x, self.y, view_slice, size)
        x, y = self.x[view_slice], self.y[view_slice]
        return (np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]) if self.series.is_stepped else (x, y)

    def marker_indices(self, low: float, high: float, *, is_named: bool = False) -> npt.NDArray[np.int64]:
        """Return the indices of the samples to draw with a marker.

        If few samples are visible, each of them has a marker. Otherwise, a line that is only named
        in the legend has evenly spaced markers, with an offset from the markers of other lines, so
        that lines do not differ by color only. A sample between two gaps also has a marker, because
        no line segment can be drawn.
        """
        view_slice = self.visible_slice(low, high)
        indices = np.arange(view_slice.start, view_slice.stop)
        if len(indices) > _MAX_MARKED_SAMPLES and is_named:
            indices = self._find_isolated_indices(view_slice)
        elif len(indices) > _MAX_MARKED_SAMPLES and self.series.is_sorted:
            spacing = (high - low) / _MAX_MARKERS
            offset = spacing * (self.series.style_index % 4) / 4
            positions = (math.ceil((low - offset) / spacing) + np.arange(_MAX_MARKERS)) * spacing + offset
            positions = positions[(positions >= self.x[0]) & (positions <= self.x[-1])]
            spaced_indices = np.minimum(np.searchsorted(self.x, positions), len(self.x) - 1)
            indices = np.unique(np.concatenate([spaced_indices, self._find_isolated_indices(view_slice)]))
        elif len(indices) > _MAX_MARKED_SAMPLES:
            indices = indices[:: len(indices) // _MAX_MARKERS]
        x = self.x[indices]
        return indices[(x >= low) & (x <= high) & np.isfinite(self.y[indices])]

    def _find_isolated_indices(self, view_slice: slice) -> npt.NDArray[np.int64]:
        finite_mask = np.isfinite(self.y[view_slice])
        if finite_mask.all():
            return np.empty(0, dtype=np.int64)
        padded_mask = np.concatenate([[False], finite_mask, [False]])
        isolated_indices: npt.NDArray[np.int64] = view_slice.start + np.flatnonzero(
            finite_mask & ~padded_mask[:-2] & ~padded_mask[2:]
        )
        return isolated_indices[:: 1 + len(isolated_indices) // _MAX_ISOLATED_SAMPLES]


def bucket_size(sample_count: int, width_px: float) -> int:
    """Return the number of samples per bucket. Each bucket is drawn as two points of a line. The
    number is a power of 2, so that the line does not flicker while the user zooms."""
    bucket_count = max(width_px, 16.0)
    return 1 if sample_count <= 2 * bucket_count else 2 ** math.ceil(math.log2(sample_count / bucket_count))


def min_max_points(x: Floats, y: Floats, view_slice: slice, size: int) -> tuple[Floats, Floats]:
    start_indices = _bucket_starts(view_slice, size)
    values = np.empty(2 * len(start_indices))
    end = min(len(y), int(start_indices[-1]) + size)
    values[0::2], values[1::2] = np.fmin.reduceat(y[:end], start_indices), np.fmax.reduceat(y[:end], start_indices)
    return np.repeat(x[start_indices], 2), values


def _bucket_starts(view_slice: slice, size: int) -> npt.NDArray[np.int64]:
    """Return the index of the first sample of each bucket. The boundaries of the buckets do not
    depend on where the view begins."""
    return np.arange(view_slice.start // size * size, view_slice.stop, size)
