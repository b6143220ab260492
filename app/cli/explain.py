"""Explain where the latency of a run's requests was spent.

Each stage has a row for its mean latency and for the requests around p50, p95 and p99. The parts of
the server are known if it reports its times with each response, in the counters of its metrics
page, or in its spans. What nothing explains is in the column unknown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import OutputOptions, output_options, parse_output, run_argument
from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError
from app.records.stage_kinds import STAGE_KINDS

if TYPE_CHECKING:
    from app.analysis.rows import StageRows
    from app.records.breakdown import LatencyBreakdown
    from app.records.result import Stage
    from app.records.server_counters import CountersRefusal
    from app.reporting.opened import OpenedRun
    from app.reporting.request_spans import SpanMatch
    from reports.sections.section import Column

_MAX_REQUESTS = 1000
_BAR_WIDTH = 50


class _Row(NamedTuple):
    """Breakdown of a stage. `request` is the number of a single request; None for an aggregate.
    `refusal` is the reason for which the server's counters are left out; None if they are not."""

    stage: str
    request: int | None
    breakdown: LatencyBreakdown
    refusal: CountersRefusal | None

    @property
    def label(self) -> str:
        return self.breakdown.aggregate if self.request is None else f"request {self.request:,}"


class _Selection(NamedTuple):
    """Options that select the requests to explain."""

    stage: str | None
    request_class: str | None
    slowest: int
    request: int | None


def _explain(run: str, selection: _Selection, spans: Path | None, requested_output: OutputOptions) -> int:
    from app.cli.tables import format_table, print_json
    from app.reporting.load import describe_refusal
    from app.reporting.opened import load_run
    from app.reporting.request_spans import match_spans
    from app.storage.run_directory import find_run

    output = parse_output(requested_output)
    if selection.request is not None and selection.stage is None:
        raise UsageError("--request needs the stage of the request", hint="Add --stage NAME.")
    opened_run = load_run(find_run(run))
    span_match = None if spans is None else match_spans(opened_run, spans)
    rows = _collect_rows(opened_run, selection, span_match)
    if output == "json":
        print_json(
            [
                {"stage": row.stage, "request": row.request, "breakdown": row.breakdown,
                 "counters_refusal": row.refusal}
                for row in rows
            ]
        )  # fmt: skip
    elif output == "table" and selection.request is not None:
        print("\n".join(_draw_waterfall(rows[-1])))
    else:
        print_whole(format_table(_build_columns(rows), rows, output))
    for refusal in dict.fromkeys(row.refusal for row in rows if row.refusal is not None):
        stage_names = dict.fromkeys(row.stage for row in rows if row.refusal == refusal)
        print(f"{', '.join(stage_names)}: {describe_refusal(refusal)}", file=sys.stderr)
    if span_match is not None:
        print(_format_match(span_match), file=sys.stderr)
    return ExitCode.OK


def _format_match(spans: SpanMatch) -> str:
    text = f"The spans contain the times of {spans.matched_count:,} of {spans.request_count:,} requests"
    left_out = "" if spans.matched_count == spans.request_count else "; stages are explained by these requests alone"
    ignored = "" if not spans.ignored_count else f"; further spans of the same requests: {spans.ignored_count:,}"
    return f"{text}{left_out}{ignored}."


def _collect_rows(run: OpenedRun, selection: _Selection, spans: SpanMatch | None) -> list[_Row]:
    """Return the rows of the selected stages. Raises UsageError if there is nothing to explain."""
    stages = [stage for stage in run.data.result.stages if stage.variant is None and not stage.is_pooled]
    selected = [
        (stage, stage_rows)
        for stage, stage_rows in zip(stages, run.data.rows if spans is None else spans.rows, strict=False)
        if selection.stage in (None, stage.name) and STAGE_KINDS[stage.kind].is_measured
    ]
    if not selected:
        names = ", ".join(dict.fromkeys(stage.name for stage in stages if STAGE_KINDS[stage.kind].is_measured))
        message = f"the run has no stage {selection.stage!r}" if selection.stage else "the run has no requests"
        raise UsageError(message, hint=f"Use one of these stages: {names}." if names else "Explain an endpoint's run.")
    if selection.request_class is not None and selection.request is not None:
        raise UsageError("--class cannot be used with --request", hint="Remove one of them.")
    if selection.request_class is not None:
        _require_class([stage for stage, _ in selected], selection.request_class)
    rows = [
        row
        for stage, stage_rows in selected
        for row in _iterate_stage_rows(stage, stage_rows, selection, has_spans=spans is not None)
    ]
    if not rows:
        raise UsageError("no request of the stage was successful", hint="See the errors in `sizewise report`.")
    return rows


def _require_class(stages: list[Stage], name: str) -> None:
    if all(stage.find_class(name) is None for stage in stages):
        names = ", ".join(dict.fromkeys(summary.name for stage in stages for summary in stage.classes))
        hint = f"Use one of these classes: {names}." if names else "Add workload.classes to the profile."
        raise UsageError(f"the run has no class {name!r}", hint=hint)


def _iterate_stage_rows(stage: Stage, stage_rows: StageRows, selection: _Selection, *, has_spans: bool) -> list[_Row]:
    import numpy as np

    from app.analysis.breakdown import break_down_latency, break_down_request, find_slowest_requests
    from app.reporting.request_spans import has_server_times

    name, classes = selection.request_class, stage_rows.classes
    is_selected = np.ones(stage_rows.sent_ns.size, dtype=bool)
    if name is not None:
        is_selected = ~is_selected if classes is None or name not in classes.categories else classes.equals(name)
    selected_rows = stage_rows.filter(is_selected)
    if selection.request is not None:
        numbers = [_require_successful(stage_rows, selection.request)]
    else:
        slowest = find_slowest_requests(selected_rows, selection.slowest)
        numbers = np.flatnonzero(is_selected)[slowest].tolist()
    if has_spans or name is not None:
        is_offered = (selected_rows.scheduled_ns >= stage.window.start_ns) & (
            selected_rows.scheduled_ns < stage.window.end_ns
        )
        rows = selected_rows.filter(is_offered & has_server_times(selected_rows) if has_spans else is_offered)
        breakdowns = break_down_latency(rows, rows, (), stage.round_trip_ms)
    else:
        breakdowns = stage.breakdown or break_down_latency(
            stage_rows, stage_rows, stage.server_latencies, stage.round_trip_ms
        )
    refusal = None if stage.server is None or has_spans else stage.server.refusal
    aggregates = [] if selection.request is not None else [_Row(stage.name, None, one, refusal) for one in breakdowns]
    return [
        *aggregates,
        *(
            _Row(stage.name, number, break_down_request(stage_rows, number, stage.round_trip_ms), refusal)
            for number in numbers
        ),
    ]


def _require_successful(stage_rows: StageRows, number: int) -> int:
    if number >= stage_rows.sent_ns.size:
        count = stage_rows.sent_ns.size
        raise UsageError(f"the stage has no request {number:,}", hint=f"Use a number from 0 to {count - 1:,}.")
    if not stage_rows.is_success[number]:
        raise UsageError(f"request {number:,} failed, so it has no latency", hint="Use --slowest 5 to find others.")
    return number


def _build_columns(rows: list[_Row]) -> list[Column[_Row]]:
    from app.records.breakdown import PART_NAMES, LatencyPart
    from reports.sections.section import Column

    def build_part_column(part: LatencyPart) -> Column[_Row]:
        return Column(f"{part}_ms", PART_NAMES[part], lambda row: row.breakdown.parts_ms.get(part))

    shown_parts = [part for part in PART_NAMES if any(part in row.breakdown.parts_ms for row in rows)]
    return [
        Column("stage", "stage"),
        Column("of", "of", lambda row: row.label),
        Column("requests", "n", lambda row: row.breakdown.requests),
        *map(build_part_column, shown_parts),
        Column("unknown_ms", "unknown", lambda row: row.breakdown.unknown_ms),
        Column("ttft_ms", "TTFT", lambda row: row.breakdown.ttft_ms),
        Column("latency_ms", "latency (ms)", lambda row: row.breakdown.latency_ms),
    ]


def _draw_waterfall(row: _Row) -> list[str]:
    """Return a line per part of a request, with a bar from its start to its end. What is unknown
    has no place in time, so its bar is drawn after the other parts."""
    from app.cli.tables import format_cell
    from app.records.breakdown import PART_NAMES

    breakdown = row.breakdown
    known = [(PART_NAMES[part], part_ms) for part, part_ms in breakdown.parts_ms.items() if part_ms is not None]
    lines = [f"{row.label} of {row.stage}: {format_cell(breakdown.latency_ms)} ms"]
    start_ms = 0.0
    scale = _BAR_WIDTH / max(breakdown.latency_ms, 1e-9)
    for name, part_ms in (*known, ("unknown", breakdown.unknown_ms)):
        offset, length = round(start_ms * scale), round(max(part_ms, 0.0) * scale)
        share = 100 * part_ms / breakdown.latency_ms if breakdown.latency_ms > 0 else 0.0
        bar = f"{' ' * offset}{'█' * length}".ljust(_BAR_WIDTH)
        lines.append(f"{name:<12}  {bar}  {format_cell(part_ms):>8} ms  {share:>4.0f} %")
        start_ms += max(part_ms, 0.0)
    missing = [PART_NAMES[part] for part, part_ms in breakdown.parts_ms.items() if part_ms is None]
    return [*lines, f"not reported by the server: {', '.join(missing)}"] if missing else lines


COMMAND = Command(
    "explain",
    _explain,
    [
        run_argument(),
        CommandOption(["--stage"], metavar="NAME", help="only this stage"),
        CommandOption(
            ["--class", "request_class"], metavar="NAME", help="only this class of requests (workload.classes)"
        ),
        CommandOption(
            ["--slowest"],
            type=click.IntRange(0, _MAX_REQUESTS),
            default=0,
            metavar="N",
            help="also the N slowest requests of each stage",
        ),
        CommandOption(
            ["--request"], type=click.IntRange(0), metavar="N", help="one request of the stage, as a waterfall"
        ),
        CommandOption(
            ["--spans"],
            type=PATH,
            metavar="FILE",
            help="times of the server from its spans in an OTLP JSON file, for a run with target.traceparent",
        ),
        *output_options(),
    ],
    documentation=__doc__,
    examples=(
        "sizewise explain last",
        "sizewise explain last --stage heavy --slowest 5",
        "sizewise explain last --stage heavy --request 17",
        "sizewise explain last --class chat",
        "sizewise explain last --spans traces.jsonl",
    ),
)
