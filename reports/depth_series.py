"""Decode throughput of language models by depth, the number of tokens in the KV cache."""

from __future__ import annotations

from typing import NamedTuple

from reports.local_model import GenerationTestRow, LocalSection, VariantRow
from reports.quantity import Quantity


class DepthPoint(NamedTuple):
    depth: int
    rate: Quantity


class DepthSeries(NamedTuple):
    """Decode throughput of a variant in tests that differ only in their depth, in ascending order
    of depth."""

    name: str
    points: tuple[DepthPoint, ...]


def list_valid_tests(variant: VariantRow) -> list[GenerationTestRow]:
    """Return the tests of a variant without INVALID ones, and without the repeated one that only
    shows drift."""
    return [row for row in variant.tests if row.repeat == 1 and row.validity != "INVALID"]


def list_depth_series(local: LocalSection) -> tuple[DepthSeries, ...]:
    """Return the series of all variants that have at least two depths. The name of the test is part
    of the name of a series if there are several tests."""
    points_by_series: dict[tuple[str, str], list[DepthPoint]] = {}
    for variant in local.variants:
        for row in list_valid_tests(variant):
            if row.decode is not None and row.decode.value is not None:
                key = variant.name, _get_shallow_name(row)
                points_by_series.setdefault(key, []).append(DepthPoint(row.depth, row.decode))
    deep_series = {
        key: points for key, points in points_by_series.items() if len({point.depth for point in points}) > 1
    }
    has_several_tests = len({test for _, test in deep_series}) > 1
    return tuple(
        DepthSeries(
            f"{variant}, {test}" if has_several_tests else variant,
            tuple(sorted(points, key=lambda point: point.depth)),
        )
        for (variant, test), points in deep_series.items()
    )


def _get_shallow_name(row: GenerationTestRow) -> str:
    """Return the name of a test without its depth, such as `tg128`."""
    return row.test.partition(" @ ")[0]
