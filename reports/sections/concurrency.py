"""Figures of latency and throughput by concurrency, for closed-loop stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reports import formatting
from reports.quantity import Quantity
from reports.sections.figure import Figure, FigureAxis, FigureLine, LineFigure, build_line
from reports.sections.knees import list_knee_markers
from reports.sections.stages import StageRow

if TYPE_CHECKING:
    from reports.model import Report

_QuantityGetter = Callable[[StageRow], Quantity | None]


def build_concurrency_figures(report: Report) -> dict[str, Figure | None]:
    """Build the figures of latency and throughput by concurrency by key; empty with fewer than two
    distinct concurrencies."""
    rows = [row for row in report.stages if row.kind == "closed" and row.clients is not None and not row.pooled]
    if len({row.clients for row in rows}) < 2:
        return {}
    rows.sort(key=lambda row: (row.clients or 0, row.repeat))
    metric_text = formatting.format_metric_label(report.times)
    return {
        "clients-time": _build_figure(
            report,
            rows,
            {"p50": lambda row: row.p50, "p95": lambda row: row.p95, "p99": lambda row: row.p99},
            FigureAxis(metric_text, "ms"),
            f"{metric_text[:1].upper()}{metric_text[1:]} by concurrency",
        ),
        "clients-rate": _build_figure(
            report,
            rows,
            {"throughput": lambda row: row.throughput},
            FigureAxis("Throughput", "successful req/s"),
            "Throughput by concurrency",
        ),
    }


def _build_figure(
    report: Report, rows: list[StageRow], getters: dict[str, _QuantityGetter], y: FigureAxis, title: str
) -> LineFigure | None:
    all_lines = (
        build_line(name, [(row.clients or 0, get_quantity(row) or Quantity(None, "")) for row in rows])
        for name, get_quantity in getters.items()
    )
    lines = tuple(line for line in all_lines if line.x)
    if not lines:
        return None
    return LineFigure(
        title=title,
        x=FigureAxis("Concurrency", scale="log2"),
        y=y,
        lines=lines,
        has_points=True,
        markers=list_knee_markers(report, "clients"),
        alternative="; ".join(map(_describe_line, lines)) + ".",
        columns=("concurrency", "stage", *getters),
        rows=tuple(
            (formatting.format_count(row.clients or 0), row.name, *(_format(read(row)) for read in getters.values()))
            for row in rows
        ),
    )


def _format(quantity: Quantity | None) -> str:
    return formatting.NOT_AVAILABLE if quantity is None else formatting.format_quantity(quantity)


def _describe_line(line: FigureLine) -> str:
    return f"{line.name} changes from {line.texts[0]} at concurrency {line.x[0]} to {line.texts[-1]} at {line.x[-1]}"
