"""Numbers of language models that the charts of the report and of the window show: rates by test,
decode throughput by depth (the number of tokens in the KV cache), and memory."""

from __future__ import annotations

from typing import Literal, NamedTuple

from reports.local_model import GenerationTestRow, LocalSection, VariantRow
from reports.quantity import Quantity

Phase = Literal["decode", "prefill"]
BYTES_PER_GIB = 2**30
MEMORY_PARTS = ("weights", "KV cache", "rest")
UNSPLIT_MEMORY = "not split"
"""Name of a peak memory whose parts are unknown."""
MEMORY_NOTE = (
    "Weights as stored in the file. The KV cache is calculated from the shape of the model, for the longest test. The "
    "rest is what else the process has at its peak: the runtime, activations and copies of weights."
)


class RatePoint(NamedTuple):
    variant: VariantRow
    test: GenerationTestRow
    rate: Quantity


class MemoryParts(NamedTuple):
    """Peak memory of the process of a variant in GiB, and its parts in the order of `MEMORY_PARTS`;
    `None` if the parts are unknown."""

    variant: VariantRow
    peak_gib: float
    parts_gib: tuple[float, float, float] | None


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


def list_rates(local: LocalSection, phase: Phase) -> tuple[RatePoint, ...]:
    """Return the valid rates of a phase, by variant and test."""
    return tuple(
        RatePoint(variant, row, rate)
        for variant in local.variants
        for row in list_valid_tests(variant)
        if (rate := row.decode if phase == "decode" else row.prefill) is not None and rate.value is not None
    )


def list_memory(local: LocalSection) -> tuple[MemoryParts, ...]:
    """Return the memory of the variants whose peak was measured."""
    return tuple(
        MemoryParts(variant, variant.peak_memory.value, _split_memory(variant, variant.peak_memory.value))
        for variant in local.variants
        if variant.tests and variant.peak_memory.value is not None
    )


def _split_memory(variant: VariantRow, peak_gib: float) -> tuple[float, float, float] | None:
    """Return the parts of the peak memory of a process; `None` if they are unknown. On a GPU they
    are not in the memory of the process."""
    kv_gib = None if variant.kv_cache is None else variant.kv_cache.value
    if variant.provider != "cpu" or variant.size_bytes is None or kv_gib is None:
        return None
    weights_gib = variant.size_bytes / BYTES_PER_GIB
    rest_gib = peak_gib - weights_gib - kv_gib
    return None if rest_gib < 0 else (weights_gib, kv_gib, rest_gib)


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
