"""Figures over the run: the offered, sent, completed and good request rates, and the latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports import formatting
from reports.sections.figure import Figure, FigureAxis, FigureBand, FigureLine, TimelineFigure

if TYPE_CHECKING:
    from reports.model import LoadSeries, Report

TIME_AXIS = FigureAxis("Time since start", "s", scale="time")


def build_timeline_figures(report: Report) -> dict[str, Figure | None]:
    """Build the figures over the run by key."""
    return {"rates": build_rates_figure(report), "latency": build_latencies_figure(report)}


def build_rates_figure(report: Report) -> TimelineFigure | None:
    """Build the lines of request rates; `None` if no request was scheduled. A closed loop has no offered
    rate, because a response triggers the next request."""
    load = report.load
    if load is None:
        return None
    is_closed_loop = all(stage.kind in ("closed", "warmup") for stage in report.stages) and bool(report.stages)
    lines = (
        *(() if is_closed_loop else (FigureLine("offered", "offered", load.at_s, load.offered_per_s),)),
        FigureLine("sent", "sent", load.at_s, load.sent_per_s),
        FigureLine("completed", "completed", load.at_s, load.completed_per_s),
        FigureLine("good", "good", load.at_s, load.good_per_s, "goodput"),
    )
    in_flight = FigureLine("in_flight", "in flight", load.at_s, load.in_flight)
    max_rate = max(map(max, (load.offered_per_s, load.sent_per_s, load.completed_per_s)))
    return TimelineFigure(
        title="Request rate over time",
        x=TIME_AXIS,
        y=FigureAxis("Request rate", "req/s", bounds=(0, 1.12 * max_rate)),  # the stages are at the top
        lines=lines,
        bin_s=load.bin_s,
        stages=tuple(
            FigureBand(row.start_s, row.end_s, row.stage, row.kind) for row in report.stages if not row.pooled
        ),
        steady_states=_list_steady_states(report),
        unplotted_lines=(in_flight,),
        alternative=_describe_rates(load, "sent" if is_closed_loop else "offered"),
        columns=("Time (s)", *(f"{line.name} (req/s)" for line in lines), "in flight"),
        rows=_build_rows((*lines, in_flight)),
        note=f"Each bin covers {formatting.format_plain(load.bin_s)} s. The band at the top shows the stages."
        f"{_describe_steady_states(report)}",
    )


def build_latencies_figure(report: Report) -> TimelineFigure | None:
    """Build the lines of latency; `None` if there are no responses."""
    load = report.load
    latencies = [] if load is None else [value for value in load.p50_ms + load.p95_ms if value is not None]
    if load is None or not latencies:
        return None
    lines = [
        FigureLine(name, name, load.at_s, values, formatting.format_metric_label(report.times, name))
        for name, values in (("p50", load.p50_ms), ("p95", load.p95_ms))
    ]
    if load.ttft_p95_ms:
        lines.append(FigureLine("ttft_ms", "p95 TTFT", load.at_s, load.ttft_p95_ms))
        latencies += [value for value in load.ttft_p95_ms if value is not None]
    slo_metric, metric_text = report.curve.metric, formatting.format_metric_label(report.times)
    limit = report.curve.limit if slo_metric == report.times or (slo_metric == "ttft_ms" and load.ttft_p95_ms) else None
    return TimelineFigure(
        title="Latency over time",
        x=TIME_AXIS,
        y=FigureAxis(metric_text, "ms"),
        lines=tuple(lines),
        bin_s=load.bin_s,
        steady_states=_list_steady_states(report),
        limit=None if limit is None else limit.value,
        limit_label=f"SLO {formatting.format_metric_label(slo_metric, report.curve.percentile)}",
        alternative=f"p50 and p95 {metric_text} are shown per bin of {formatting.format_plain(load.bin_s)} s. The "
        f"highest value is {formatting.format_number(max(latencies))} ms, and the lowest is "
        f"{formatting.format_number(min(latencies))} ms.",
        columns=("Time (s)", *(f"{line.name} (ms)" for line in lines)),
        rows=_build_rows(lines),
        note="Each latency is plotted at the scheduled start of its request, if known, or else at its send time. Gaps "
        f"are bins without responses.{_describe_steady_states(report)}",
    )


def _list_steady_states(report: Report) -> tuple[FigureBand, ...]:
    return tuple(FigureBand(*row.window_s, row.stage) for row in report.steady if row.window_s is not None)


def _describe_steady_states(report: Report) -> str:
    return " The shaded part of a stage is its steady state." if _list_steady_states(report) else ""


def _build_rows(lines: Sequence[FigureLine]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{time_s:.1f}",
            *(formatting.NOT_AVAILABLE if cell is None else formatting.format_number(cell) for cell in cells),
        )
        for time_s, *cells in zip(lines[0].x, *(line.y for line in lines), strict=True)
    )


def _describe_rates(load: LoadSeries, participle: str) -> str:
    duration_s = load.at_s[-1] - load.at_s[0] + load.bin_s
    request_counts = [
        sum(series) * load.bin_s for series in (load.offered_per_s, load.completed_per_s, load.good_per_s)
    ]
    offered_text, completed_text, good_text = (
        formatting.format_count(round(request_count)) for request_count in request_counts
    )
    return (
        f"{offered_text} requests were {participle} over {formatting.format_duration(duration_s)}, with a peak rate of "
        f"{formatting.with_unit(formatting.format_number(max(load.offered_per_s)), 'req/s')}; {completed_text} "
        f"completed, and {good_text} were within the SLO. The peak concurrency was "
        f"{formatting.format_count(max(load.in_flight))} requests in flight."
    )
