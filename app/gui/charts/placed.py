"""Samples where they stand on the view, thinned to what a screen can show of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.series import Series

_MOST_MARKERS = 8
_FEW_SAMPLES = 40
_MOST_ALONE = 200
_PX_A_DASHED_SAMPLE = 4.0


class Placed:
    """One line, in places of the view; samples that have no place across are left out."""

    def __init__(self, series: Series, x: Axis, y: Axis) -> None:
        self.series = series
        across = x.to_view(series.x)
        kept = np.isfinite(across)
        has_all = bool(kept.all())
        self.x = across if has_all else across[kept]
        self.y = y.to_view(series.y) if has_all else y.to_view(series.y)[kept]

    def inside(self, low: float, high: float) -> slice:
        """The samples between two places, and one more on each side."""
        if not self.series.is_sorted:
            return slice(0, len(self.x))
        start = int(np.searchsorted(self.x, low)) - 1
        end = int(np.searchsorted(self.x, high, side="right")) + 1
        return slice(max(start, 0), min(end, len(self.x)))

    def is_dense(self, low: float, high: float, width_px: float) -> bool:
        """So much so that dashes would read as noise: it is drawn solid, and its markers tell it from others."""
        shown = self.inside(low, high)
        return bool((shown.stop - shown.start) * _PX_A_DASHED_SAMPLE > width_px)

    def thinned(self, low: float, high: float, width_px: float) -> tuple[Floats, Floats]:
        """Two samples a pixel at most: the least and the most of each stretch."""
        shown = self.inside(low, high)
        if self.series.is_sorted:
            size = stretch_size(shown.stop - shown.start, width_px)
            if size > 1:
                return peaks(self.x, self.y, shown, size)
        x, y = self.x[shown], self.y[shown]
        return (np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]) if self.series.is_stepped else (x, y)

    def marker_indices(self, low: float, high: float) -> npt.NDArray[np.int64]:
        """Of every sample in view where they are few, else of some, apart from other lines' own, and of those that
        stand alone between gaps, where a line has nothing to draw."""
        shown = self.inside(low, high)
        indices = np.arange(shown.start, shown.stop)
        if len(indices) > _FEW_SAMPLES and self.series.is_sorted:
            spacing = (high - low) / _MOST_MARKERS
            shift = spacing * (self.series.series % 4) / 4
            wanted = (math.ceil((low - shift) / spacing) + np.arange(_MOST_MARKERS)) * spacing + shift
            wanted = wanted[(wanted >= self.x[0]) & (wanted <= self.x[-1])]
            some = np.minimum(np.searchsorted(self.x, wanted), len(self.x) - 1)
            indices = np.unique(np.concatenate([some, self._alone(shown)]))
        elif len(indices) > _FEW_SAMPLES:
            indices = indices[:: len(indices) // _MOST_MARKERS]
        x = self.x[indices]
        return indices[(x >= low) & (x <= high) & np.isfinite(self.y[indices])]

    def _alone(self, shown: slice) -> npt.NDArray[np.int64]:
        is_there = np.isfinite(self.y[shown])
        if is_there.all():
            return np.empty(0, dtype=np.int64)
        padded = np.concatenate([[False], is_there, [False]])
        found: npt.NDArray[np.int64] = shown.start + np.flatnonzero(is_there & ~padded[:-2] & ~padded[2:])
        return found[:: 1 + len(found) // _MOST_ALONE]


def stretch_size(samples: int, width_px: float) -> int:
    """Samples that share two of a line's points; a power of two, so that a line does not shimmer as it is zoomed."""
    most = max(width_px, 16.0)
    return 1 if samples <= 2 * most else 2 ** math.ceil(math.log2(samples / most))


def peaks(x: Floats, y: Floats, shown: slice, size: int) -> tuple[Floats, Floats]:
    starts = _starts(shown, size)
    ups = np.empty(2 * len(starts))
    end = min(len(y), int(starts[-1]) + size)
    ups[0::2], ups[1::2] = np.fmin.reduceat(y[:end], starts), np.fmax.reduceat(y[:end], starts)
    return np.repeat(x[starts], 2), ups


def _starts(shown: slice, size: int) -> npt.NDArray[np.int64]:
    """Stretches begin at the same samples wherever the view begins."""
    return np.arange(shown.start // size * size, shown.stop, size)
