"""Figures of language models: rates by test, decode throughput by depth (the number of tokens in the
KV cache), and memory."""

from __future__ import annotations

from typing import Literal, NamedTuple

from reports import formatting
from reports.local_model import GenerationTestRow, LocalSection, VariantRow
from reports.quantity import Quantity
from reports.sections.figure import (
    MAX_GROUPS,
    MAX_SERIES,
    BarFigure,
    Figure,
    FigureAxis,
    FigureBar,
    LineFigure,
    build_line,
    describe_hidden,
)

Phase = Literal["decode", "prefill"]
TOKEN_RATE = "tok/s"
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


def build_rate_figure(local: LocalSection, phase: Phase) -> BarFigure | None:
    """Build the bars of the rates of a phase, grouped by variant, with one bar per test and its
    interval; `None` without a valid rate."""
    points = list_rates(local, phase)
    if not points:
        return None
    variants = [*dict.fromkeys(point.variant.name for point in points)][:MAX_GROUPS]
    tests = [*dict.fromkeys(point.test.test for point in points)][:MAX_SERIES]
    bars = tuple(
        FigureBar(variant.name, row.test, rate.value or 0.0, formatting.format_quantity(rate), rate.ci95)
        for variant, row, rate in points
        if variant.name in variants and row.test in tests
    )
    slowest, fastest = (chooser(points, key=lambda point: point.rate.value or 0.0) for chooser in (min, max))
    return BarFigure(
        title=f"{phase.capitalize()} throughput by test",
        value=FigureAxis(f"{phase.capitalize()} throughput", TOKEN_RATE),
        series_label="Test",
        bars=bars,
        alternative=(
            f"The highest {phase} throughput is {formatting.format_quantity(fastest.rate)} ({fastest.variant.name}, "
            f"{fastest.test.test}); the lowest is {formatting.format_quantity(slowest.rate)} ({slowest.variant.name}, "
            f"{slowest.test.test})."
        ),
        columns=("variant", "test", f"{phase} throughput"),
        rows=tuple((variant.name, row.test, formatting.format_quantity(rate)) for variant, row, rate in points),
        note=describe_hidden(len(points) - len(bars), "bars"),
    )


def build_depth_figure(local: LocalSection) -> LineFigure | None:
    """Build the lines of the decode throughput by depth, for tests that differ only in their depth;
    `None` with fewer than two depths."""
    all_series = list_depth_series(local)
    if not all_series:
        return None
    first, last = all_series[0].points[0], all_series[0].points[-1]
    return LineFigure(
        title="Decode throughput by depth",
        x=FigureAxis("Depth (tokens in the KV cache)", scale="linear"),
        y=FigureAxis("Decode throughput", TOKEN_RATE),
        lines=tuple(build_line(series.name, series.points) for series in all_series[:MAX_SERIES]),
        has_points=True,
        alternative=(
            f"The decode throughput of {all_series[0].name} changes from {formatting.format_quantity(first.rate)} at "
            f"depth {formatting.format_count(first.depth)} to {formatting.format_quantity(last.rate)} at depth "
            f"{formatting.format_count(last.depth)}."
        ),
        columns=("series", "depth", "decode throughput"),
        rows=tuple(
            (series.name, formatting.format_count(point.depth), formatting.format_quantity(point.rate))
            for series in all_series
            for point in series.points
        ),
        note=describe_hidden(len(all_series[MAX_SERIES:]), "series"),
    )


def build_memory_figure(local: LocalSection) -> BarFigure | None:
    """Build the stacked bars of the peak memory of the process by variant, split into its parts; `None`
    if no memory was measured."""
    memory = list_memory(local)
    if not memory:
        return None
    largest = max(memory, key=lambda row: row.peak_gib).variant
    return BarFigure(
        title="Memory by variant",
        value=FigureAxis("Peak memory of the process", "GiB"),
        series_label="Memory",
        bars=tuple(
            FigureBar(row.variant.name, name, gib, _format_gib(gib))
            for row in memory[:MAX_GROUPS]
            for name, gib in (
                [(UNSPLIT_MEMORY, row.peak_gib)]
                if row.parts_gib is None
                else zip(MEMORY_PARTS, row.parts_gib, strict=True)
            )
        ),
        is_stacked=True,
        group_texts={row.variant.name: _format_gib(row.peak_gib) for row in memory},
        alternative=f"The highest peak memory is {formatting.format_value_unit(largest.peak_memory)} ({largest.name}).",
        columns=("variant", *MEMORY_PARTS, "peak"),
        rows=tuple(
            (row.variant.name, *map(_format_gib, (*(row.parts_gib or (None,) * len(MEMORY_PARTS)), row.peak_gib)))
            for row in memory
        ),
        note=" ".join(filter(None, (MEMORY_NOTE, describe_hidden(len(memory[MAX_GROUPS:]), "variants")))),
    )


def _format_gib(gib: float | None) -> str:
    return formatting.NOT_AVAILABLE if gib is None else formatting.with_unit(formatting.format_number(gib), "GiB")


def list_generation_figures(local: LocalSection | None) -> dict[str, Figure | None]:
    """Return the figures of a run of language models by key; empty for other runs."""
    if local is None or not local.is_language_model:
        return {}
    return {
        "test-decode": build_rate_figure(local, "decode"),
        "test-prefill": build_rate_figure(local, "prefill"),
        "decode-by-depth": build_depth_figure(local),
        "model-memory": build_memory_figure(local),
    }
