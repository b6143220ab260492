"""Figures of latency and throughput of a local model by batch size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reports.local_model import LocalSection, VariantRow
from reports.quantity import Quantity
from reports.sections.figure import MAX_SERIES, Figure, FigureAxis, LineFigure, build_line, describe_hidden
from reports.sections.model_only import ModelSection

if TYPE_CHECKING:
    from reports.model import Report

_Points = Mapping[str, list[tuple[int, Quantity]]]
"""Batch sizes with their values, by the name of the series."""


def select_valid_variants(local: LocalSection) -> list[VariantRow]:
    """Return the valid variants by throughput, fastest family first. Charts that have too little
    room omit the last families."""
    variants_with_results = [variant for variant in local.variants if variant.state in ("best", "measured")]
    max_throughput_by_family: dict[str, float] = {}
    for variant in variants_with_results:
        max_throughput_by_family[variant.family] = max(
            max_throughput_by_family.get(variant.family, 0.0), variant.throughput.value or 0.0
        )
    return sorted(
        variants_with_results,
        key=lambda variant: (-max_throughput_by_family[variant.family], variant.family, variant.batch),
    )


def list_variant_families(local: LocalSection) -> list[str]:
    """Return the names of the variant families in the order of `select_valid_variants`, followed by
    the families without a valid variant."""
    return list(dict.fromkeys(variant.family for variant in (*select_valid_variants(local), *local.variants)))


def build_batch_figures(report: Report) -> dict[str, Figure | None]:
    """Build the figures of latency and throughput by batch size by key. A figure with fewer than two
    batch sizes is `None`; language models have figures by test instead."""
    if report.local is not None:
        latencies, throughputs = ({}, {}) if report.local.is_language_model else _list_variant_points(report.local)
    else:
        latencies, throughputs = ({}, {}) if report.model is None else _list_served_points(report.model)
    return {
        "batch-latency": _build_figure(latencies, FigureAxis("Latency", "ms")),
        "batch-throughput": _build_figure(throughputs, FigureAxis("Throughput", "inferences/s")),
    }


def _list_variant_points(local: LocalSection) -> tuple[_Points, _Points]:
    """Return latencies of sequential calls and throughputs by family of variants. p95 is shown in
    addition to p50 only if there is a single family."""
    latencies, throughputs = defaultdict(list), defaultdict(list)
    variants = select_valid_variants(local)
    has_single_family = len({variant.family for variant in variants}) == 1
    for variant in variants:
        throughputs[variant.family].append((variant.batch, variant.throughput))
        stage = next((row for row in variant.scenarios if row.scenario == "single-stream"), None)
        if stage is not None and has_single_family:
            latencies[f"{variant.family} p50"].append((variant.batch, stage.p50))
            latencies[f"{variant.family} p95"].append((variant.batch, stage.p95))
        elif stage is not None:
            latencies[variant.family].append((variant.batch, stage.p50))
    return latencies, throughputs


def _list_served_points(model: ModelSection) -> tuple[_Points, _Points]:
    """Return latencies and throughputs of the model of an endpoint. Their names contain provider and
    precision only if the run has several variants."""
    latencies, throughputs = defaultdict(list), defaultdict(list)
    has_several_variants = len({(row.provider, row.precision) for row in model.batches}) > 1
    for row in sorted(model.batches, key=lambda row: row.batch):
        prefix = f"{row.provider} {row.precision} " if has_several_variants else ""
        latencies[f"{prefix}p50"].append((row.batch, row.p50))
        latencies[f"{prefix}p95"].append((row.batch, row.p95))
        throughputs[f"{prefix}throughput"].append((row.batch, row.throughput))
    return latencies, throughputs


def _build_figure(points: _Points, y: FigureAxis) -> LineFigure | None:
    all_lines = [
        build_line(name, [(batch, replace(quantity, unit=y.unit)) for batch, quantity in series])
        for name, series in points.items()
    ]
    lines = [line for line in all_lines if line.x]
    if len({batch for line in lines for batch in line.x}) < 2:
        return None
    first, subject = lines[0], lines[0].name if len(lines) > 1 else "The value"
    return LineFigure(
        title=f"{y.label} by batch size",
        x=FigureAxis("Batch size", scale="log2"),
        y=y,
        lines=tuple(lines[:MAX_SERIES]),
        has_points=True,
        alternative=f"{subject} changes from {first.texts[0]} at batch {first.x[0]} to {first.texts[-1]} at batch "
        f"{first.x[-1]}.",
        columns=("series", "batch size", y.text),
        rows=tuple(
            (line.name, str(batch), text) for line in lines for batch, text in zip(line.x, line.texts, strict=True)
        ),
        note=describe_hidden(len(lines[MAX_SERIES:]), "series"),
    )
