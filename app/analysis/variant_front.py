"""Which variants are worth looking at: no other is as fast, as cheap and as accurate, and better in one of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class VariantPoint(msgspec.Struct, frozen=True, kw_only=True):
    """`latency_ms` is one percentile, and `cost` in one unit, for all points that are compared; None is not known."""

    latency_ms: float | None
    rows_per_s: float | None
    cost: float | None
    accuracy: float | None
    """A share, better high."""


def usd_per_million_rows(rows_per_s: float, usd_per_hour: float) -> float:
    """Of a machine that is never idle."""
    return usd_per_hour / 3600 / rows_per_s * 1e6


def machine_s_per_thousand_rows(rows_per_s: float) -> float:
    """The cost where the machine has no price."""
    return 1e3 / rows_per_s


def front_of(points: Sequence[VariantPoint]) -> tuple[int, ...]:
    """The indexes of the points that none dominates, in order; of points alike all stand.

    Points without a latency or a cost take no part. An accuracy that is not known beats none that is: such a point may
    be dominated by one that is as fast and as cheap, and dominates only its like.
    """
    known = {index: _place(point) for index, point in enumerate(points)}
    placed = {index: place for index, place in known.items() if place is not None}
    return tuple(
        index for index, place in placed.items() if not any(_dominates(other, place) for other in placed.values())
    )


def best_within(points: Sequence[VariantPoint], meets: Callable[[VariantPoint], bool]) -> int | None:
    """The index of the most rows a second among those that meet what is asked; of several alike the first. None where
    none does, or none has a throughput."""
    rates = [(point.rows_per_s, -index) for index, point in enumerate(points) if point.rows_per_s and meets(point)]
    return -max(rates)[1] if rates else None


def _place(point: VariantPoint) -> tuple[float, float, float] | None:
    """Each part better low."""
    if point.latency_ms is None or point.cost is None:
        return None
    return point.latency_ms, point.cost, float("inf") if point.accuracy is None else -point.accuracy


def _dominates(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
