"""What a chart was given to draw, as plain facts: looked up by crosshair and table, whatever draws it."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from app.gui.charts.axes import Axis, Floats

Kind = Literal["line", "points"]


class Series(msgspec.Struct, frozen=True, eq=False):
    """`hollow` has one entry a point."""

    key: str
    label: str
    kind: Kind
    series: int
    x: Floats
    y: Floats
    hollow: np.ndarray | None = None
    names: tuple[str, ...] = ()
    is_stepped: bool = False
    is_sorted: bool = True

    def reaches(self, x: float) -> bool:
        """Whether x is no further from its samples than they are from each other."""
        if not len(self.x) or not self.is_sorted:
            return len(self.x) > 0
        apart = (self.x[-1] - self.x[0]) / max(len(self.x) - 1, 1)
        return bool(self.x[0] - apart <= x <= self.x[-1] + apart) or len(self.x) == 1

    def nearest(self, x: float) -> int | None:
        """The sample at, or nearest to, x; in a stepped line the one in force."""
        if not len(self.x) or not np.isfinite(x):
            return None
        if not self.is_sorted:
            distance = np.abs(self.x - x)
            return None if np.isnan(distance).all() else int(np.nanargmin(distance))
        after = int(np.searchsorted(self.x, x, side="right"))
        if self.is_stepped or after == 0 or after == len(self.x):
            return min(max(after - 1, 0), len(self.x) - 1)
        return after if self.x[after] - x < x - self.x[after - 1] else after - 1

    def beyond(self, x: float, *, is_after: bool) -> float | None:
        """The next sample's x on one side of x."""
        if not self.is_sorted:
            beyond = self.x[self.x > x] if is_after else self.x[self.x < x]
            return None if not len(beyond) else float(beyond.min() if is_after else beyond.max())
        place = int(np.searchsorted(self.x, x, side="right")) if is_after else int(np.searchsorted(self.x, x)) - 1
        return float(self.x[place]) if 0 <= place < len(self.x) else None

    def is_hollow(self, index: int) -> bool:
        return self.hollow is not None and bool(self.hollow[index])


class Bounds(msgspec.Struct, frozen=True):
    """Ends on both axes, in the view's places; NaN where there is nothing."""

    x0: float
    x1: float
    y0: float
    y1: float


def make_series(
    key: str,
    label: str,
    kind: Kind,
    series: int,
    x: object,
    y: object,
    *,
    hollow: object = None,
    names: tuple[str, ...] = (),
    is_stepped: bool = False,
) -> Series:
    """Copies what it is given, so that the giver may go on writing there."""
    xs, ys = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    marks = None if hollow is None else np.array(hollow, dtype=bool)
    if xs.ndim != 1 or any(each is not None and each.shape != xs.shape for each in (ys, marks)):
        raise ValueError(f"{key}: x, y and what else there is of a series are as long as each other")
    is_sorted = bool(np.all(xs[1:] >= xs[:-1]))
    return Series(key, label, kind, series, xs, ys, marks, names, is_stepped, is_sorted)


def bounds_of(series: Series, x: Axis, y: Axis) -> Bounds:
    return Bounds(*_ends(x.to_view(series.x)), *_ends(y.to_view(series.y)))


def around(bounds: list[Bounds]) -> Bounds:
    ends = np.array([[each.x0, each.x1, each.y0, each.y1] for each in bounds]).reshape(-1, 4)
    least, most = np.fmin.reduce, np.fmax.reduce
    if not len(ends):
        return Bounds(np.nan, np.nan, np.nan, np.nan)
    return Bounds(float(least(ends[:, 0])), float(most(ends[:, 1])), float(least(ends[:, 2])), float(most(ends[:, 3])))


def _ends(places: Floats) -> tuple[float, float]:
    finite = places[np.isfinite(places)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
