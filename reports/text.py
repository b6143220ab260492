"""Render the terminal summary as plain text: the decision or the result, its caveats, then the
numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

import msgspec

from reports import formatting, plan_sentences
from reports.comparison_text import build_comparison_summary_lines
from reports.decision import (
    build_run_decision,
    leads_with_plan,
    list_warnings,
    select_tiles_beside_decision,
    summarize_caveats,
)
from reports.definitions import build_definition_blocks
from reports.formatting import sanitize
from reports.local_model import LocalSection
from reports.local_text import (
    build_headline_variant_lines,
    build_remaining_variant_lines,
    build_test_table,
    build_variant_table,
)
from reports.marks import compute_display_width, dim_undersampled, drop_marks, mark_status, pad_text
from reports.model import (
    CONFIGURED_KINDS,
    BatchRow,
    BreakdownSection,
    CheckRow,
    ClassRow,
    ClassSection,
    ErrorRow,
    GroupTable,
    HeadlineTile,
    KneeSection,
    MediaRow,
    MessageRow,
    ModelSection,
    NamedQuantity,
    ObjectiveRow,
    PlanSection,
    Quantity,
    Report,
    SelfTestRow,
    ServerRow,
    ShapePlanSection,
    SpikeSummary,
    StageRow,
    SteadyRow,
    TokenRow,
    WorkerRow,
)
from reports.plan_text import build_decision_lines, build_offer_lines
from reports.plan_text import build_detail_lines as plan_lines

_MARGIN = 11
_PLAN_MARGIN = 13
_MIN_COLUMN_WIDTH = 14
_MAX_ROWS = 8
_MAX_CLASS_ROWS = 16


def render_text(report: Report, width: int = 100, *, with_marks: bool = False) -> str:
    """Render a terminal summary of at most one or two screens, without a trailing newline.
    `with_marks` leaves the marks of `reports.marks` in the text, so that a terminal can show
    colors.
    """
    report = sanitize(report)
    header, verdict = report.header, report.verdict
    location = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    location = location if header.user_title is None else f"{header.title}: {location}"
    latency_label = formatting.format_metric_label(report.times)
    leading_plan = report.plan if leads_with_plan(report) else None
    blocks = [
        [
            f"{mark_status(verdict.outcome)}  {header.name} (measurement {mark_status(verdict.validity)})",
            *_wrap_line(location, width, 0),
        ],
        _build_block("Decision", build_decision_lines(leading_plan) if leading_plan else [], width),
        _build_block("Result", _build_result_lines(report), width),
        _build_block("Self-test", _build_selftest_lines(report.selftest), width),
        _build_block("Numbers", _build_tile_lines(select_tiles_beside_decision(report), width - _MARGIN), width),
        _build_block("SLO", [*map(_format_objective, report.objectives)], width),
        _build_block("Checks", _build_check_lines(report.checks), width),
        _build_block("Notes", report.notes, width),
        _build_block(
            "Comparison", build_comparison_summary_lines(report.comparison) if report.comparison else [], width
        ),
        _build_block("Stages", _build_stage_lines(report.stages, latency_label, width - _MARGIN), width),
        _build_block("Steady", [*map(_describe_steady_state, report.steady)], width),
        _build_block("Classes", _build_class_lines(report.classes, latency_label, width - _MARGIN), width),
        _build_block("Tokens", _build_token_lines(report.tokens, latency_label, width - _MARGIN), width),
        _build_block("Media", _build_media_lines(report.media, width - _MARGIN), width),
        _build_block("Batch", [line for row in report.batches for line in formatting.describe_batch(row)], width),
        _build_block("Messages", _build_message_lines(report.messages, width - _MARGIN), width),
        _build_block("Server", _build_server_lines(report.servers, width - _MARGIN), width),
        _build_block("Latency", _build_breakdown_lines(report.breakdown, width - _MARGIN), width),
        _build_block("Spikes", [*map(_describe_spike, report.spikes)], width),
        _build_block("Knee", _build_knee_lines(report.knees), width),
        _build_block("Cold start", _build_cold_start_lines(report.cold_start), width),
        *(_build_block(f"By {group.column}", _build_group_lines(group), width) for group in report.groups),
        _build_block("Workers", _build_worker_lines(report.workers), width),
        _build_block("Errors", _build_error_lines(report.errors), width),
        _build_block("Model", _build_model_lines(report.model), width),
        *_build_local_blocks(report.local, width),
        _build_block("Plan", _build_plan_lines(report.plan, is_decided=leading_plan is not None), width),
        _build_block("From shape", _build_shape_plan_lines(report.shape_plan, width - _MARGIN), width),
    ]
    if report.definitions is not None:
        blocks += build_definition_blocks(report.definitions, width)
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    text = text.replace(formatting.THIN_SPACE, " ")  # some terminal fonts have no thin space
    return text if with_marks else drop_marks(text)


def render_plan(plan: PlanSection, width: int = 100) -> str:
    """Render a plan without a run, with all details of the recommended fleet."""
    plan = sanitize(plan)
    caveats = summarize_caveats(list(plan.checks))
    titled_lines = (
        ("Decision", [*build_decision_lines(plan), *([caveats] if caveats else [])]),
        ("Plan", build_offer_lines(plan)),
        *plan_lines(plan),
        ("Caveats", [*map(formatting.format_check, plan.checks)]),
    )
    blocks = [_build_block(title, lines, width, _PLAN_MARGIN) for title, lines in titled_lines]
    return "\n\n".join("\n".join(block) for block in blocks if block).replace(formatting.THIN_SPACE, " ")


def _build_shape_plan_lines(section: ShapePlanSection | None, width: int) -> list[str]:
    if section is None:
        return []
    introduction = [section.statement, plan_sentences.describe_shape_traffic(section)]
    if not section.rows:
        return [*introduction, plan_sentences.NO_SHAPE_OFFER, *section.notes]
    cell_rows = [plan_sentences.SHAPE_COLUMNS, *map(plan_sentences.build_shape_cells, section.rows)]
    first_column, *columns = ([*cells] for cells in zip(*cell_rows, strict=True))
    table_lines = _format_tables(_pack_columns(first_column, [[column] for column in columns], width))
    return [*introduction, *table_lines, *section.notes]


def _build_block(title: str, lines: Sequence[str], width: int, margin: int = _MARGIN) -> list[str]:
    """Indent lines by a margin. The margin of the first line contains the title."""
    wrapped_lines = [wrapped_line for line in lines for wrapped_line in _wrap_line(line, width, margin)]
    return [title.ljust(margin) + wrapped_lines[0].lstrip(), *wrapped_lines[1:]] if wrapped_lines else []


def _wrap_line(line: str, width: int, margin: int) -> list[str]:
    indent = " " * margin
    if line and "\n" not in line and "\t" not in line and margin + compute_display_width(line) <= width:
        return [indent + line]  # textwrap would count the marks of a line
    return textwrap.wrap(
        line,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  " * bool(margin),
        break_on_hyphens=False,
    )


def _format_value_unit(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_value_unit(quantity))


def _format_value(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_value(quantity))


def _format_quantity(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_quantity(quantity))


def _build_result_lines(report: Report) -> list[str]:
    """Return the lines about the result of a run: headline, evidence, reasons for the outcome, and
    caveats."""
    verdict, decision = report.verdict, build_run_decision(report)
    headline = f"{verdict.stamp} {decision.headline}" if verdict.stamp else decision.headline
    evidence = "" if leads_with_plan(report) else decision.evidence
    lines = (
        headline,
        " ".join((decision.sentence, *decision.details)).strip(),
        evidence,
        *_list_reasons(report),
        *_list_caveats(report),
    )
    return [line for line in lines if line]


def _list_reasons(report: Report) -> Iterator[str]:
    yield from (f"- {reason}" for reason in report.verdict.reasons)


def _list_caveats(report: Report) -> list[str]:
    """Return the number and names of the caveats, followed by the INVALID checks in full. All other
    caveats are shown below the numbers."""
    warnings = list_warnings(report)
    invalid_texts = [_format_check(check) for check in warnings if check.verdict == "INVALID"]
    return [line for line in (summarize_caveats(warnings, len(report.notes)), *invalid_texts) if line]


def _build_plan_lines(plan: PlanSection | None, *, is_decided: bool) -> list[str]:
    if plan is None:
        return []
    decision_lines = [] if is_decided else build_decision_lines(plan)
    offer_lines = build_offer_lines(plan, is_decided=is_decided)
    return [*decision_lines, *offer_lines, *map(_format_check, plan.checks), *plan.notes]


def _build_check_lines(checks: Sequence[CheckRow]) -> list[str]:
    warnings = [check for check in checks if check.verdict != "VALID"]
    if not checks:
        return ["none"]
    if not warnings:
        return [f"{formatting.format_count_noun(len(checks), 'check')} passed"]
    return [*map(_format_check, warnings), f"{len(checks) - len(warnings)} of {len(checks)} checks passed"]


def _format_check(check: CheckRow) -> str:
    return formatting.format_check(check, mark_status)


def _build_selftest_lines(selftest: SelfTestRow | None) -> list[str]:
    """Return the outcome of the self-test; empty if no self-test was run. Only the HTML report
    states that none was run."""
    if selftest is None:
        return []
    outcome = "passed" if selftest.passed else f"{mark_status('FAILED')}: {', '.join(selftest.failed)}"
    return [f"{selftest.id}, {selftest.at[:10]}, {outcome}"]


def _build_tile_lines(tiles: Sequence[HeadlineTile], width: int) -> list[str]:
    """Format the headline tiles as text columns (label, value, limit, basis). The lines must not be
    wrapped again, because that would break the columns."""
    rows = [
        (tile.label, _format_quantity(tile.quantity), _format_tile_limit(tile), f"{_format_basis(tile)}{note}")
        for tile, note in zip(tiles, _list_distinct_notes(tiles), strict=True)
    ]
    widths = [max((compute_display_width(row[column]) for row in rows), default=0) for column in range(3)]
    return [line for row in rows for line in _format_columns(row, widths, width)]


def _format_columns(row: tuple[str, str, str, str], widths: list[int], width: int) -> list[str]:
    """Join the cells of a row as text columns. If the line is too long, the last cell is wrapped
    within its column."""
    leading_cells = "".join(
        f"{pad_text(cell, column_width)}  " for cell, column_width in zip(row, widths, strict=False) if column_width
    )
    leading_width = compute_display_width(leading_cells)
    first_line, *further_lines = textwrap.wrap(row[3], max(width - leading_width, _MIN_COLUMN_WIDTH)) or [""]
    return [leading_cells + first_line, *(" " * leading_width + wrapped_line for wrapped_line in further_lines)]


def _format_tile_limit(tile: HeadlineTile) -> str:
    return f"SLO {formatting.format_limit(tile.limit)}" if tile.limit else ""


def _format_basis(tile: HeadlineTile) -> str:
    if tile.quantity.value is None:
        return tile.quantity.reason or ""
    return mark_status("INVALID") if tile.quantity.validity == "INVALID" else tile.quantity.basis


def _list_distinct_notes(tiles: Sequence[HeadlineTile]) -> Iterator[str]:
    """Yield the note of each tile. A note that several tiles share is yielded only for the first of
    them."""
    yielded_notes: set[str | None] = set()
    for tile in tiles:
        is_cost = tile.quantity.unit.startswith("USD")  # the plan states the traffic that a cost refers to
        is_new = tile.quantity.value is not None and tile.note not in yielded_notes and not is_cost
        yield f", {tile.note}" if is_new and tile.note else ""
        yielded_notes |= {tile.note} if is_new else set()


def _format_objective(row: ObjectiveRow) -> str:
    default_note = " (default: no error limit set)" if row.implied else ""
    location = f" in {row.stage}" if row.stage else ""
    reason_note = f"; {row.why}" if row.why else ""
    observed_text = _format_quantity(row.observed)
    return f"{mark_status(row.outcome)} {row.display_text}{default_note}: {observed_text}{location}{reason_note}"


def _build_stage_lines(stages: Sequence[StageRow], times: str, width: int) -> list[str]:
    """Return a table of the stages that the profile defines, or two if the width requires it.

    The steps and probes of a search are omitted: the full report lists them, and the summary
    already shows the result of the search."""
    rows = [row for row in stages if row.kind in CONFIGURED_KINDS]
    if not rows:
        return []
    has_results = any(row.meets_slo is not None for row in rows)
    header = ("stage", "load", "throughput", f"p50 {times}", "p95", "failed", "SLO" if has_results else "")
    invalid_notes = [
        f"{mark_status(row.validity)} {row.name}: {row.reasons[0]}"
        for row in rows
        if row.validity == "INVALID" and row.reasons
    ]
    cell_rows = [header, *map(_format_stage_cells, rows[:_MAX_ROWS])]
    stage_column, *columns = ([*cells] for cells in zip(*cell_rows, strict=True))
    tables = _pack_columns(stage_column, [[column] for column in columns if any(column)], width)
    return [
        *_format_tables(tables),
        *_build_more_note(len(rows)),
        *invalid_notes[:_MAX_ROWS],
    ]


def _format_stage_cells(row: StageRow) -> tuple[str, ...]:
    states = {"failed": "missed", "not evaluated": "", "passed": "met", "INVALID": mark_status("INVALID")}
    state = formatting.find_stage_state(row)
    return (
        formatting.format_stage_name(row.name, row.repeat),
        _format_arrivals(row),
        formatting.NOT_AVAILABLE if row.throughput is None else _format_value_unit(row.throughput),
        _format_value_unit(row.p50),
        _format_value_unit(row.p95),
        formatting.format_count(row.failed),
        states[state],
    )


def _format_arrivals(row: StageRow) -> str:
    if row.kind == "closed" and row.clients is not None:
        return f"concurrency {formatting.format_count(row.clients)}"
    return row.arrivals or row.kind


def _format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as aligned text columns. Empty columns are omitted."""
    if not rows:
        return []
    widths = [max(map(compute_display_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(pad_text(cell, width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in rows
    ]


_TokenColumn = tuple[str, Callable[[TokenRow], Quantity]]
"""Header of a column, and the function that reads its quantity."""


def _list_token_column_groups(latency_label: str) -> tuple[tuple[_TokenColumn, ...], ...]:
    """Return the columns of the token tables. The columns of a group are shown in the same table."""
    return (
        (("req/s", lambda row: row.throughput), ("tok/s", lambda row: row.tokens_per_s)),
        (("mean TTFT", lambda row: row.ttft_mean), ("p50", lambda row: row.ttft_p50),
         ("p95", lambda row: row.ttft_p95), ("p99", lambda row: row.ttft_p99)),
        (("mean TPOT", lambda row: row.tpot_mean), ("p50", lambda row: row.tpot_p50),
         ("p95", lambda row: row.tpot_p95), ("p99", lambda row: row.tpot_p99)),
        (("mean ITL", lambda row: row.itl_mean), ("p50", lambda row: row.itl_p50),
         ("p95", lambda row: row.itl_p95), ("p99", lambda row: row.itl_p99)),
        ((f"mean {latency_label}", lambda row: row.latency_mean), ("p50", lambda row: row.latency_p50),
         ("p95", lambda row: row.latency_p95), ("p99", lambda row: row.latency_p99)),
        (("p99 ICL", lambda row: row.icl_p99), ("coalesced", lambda row: row.coalesced)),
        (("cached input", lambda row: row.cached),),
        (("reasoning tokens", lambda row: row.reasoning_tokens),),
    )  # fmt: skip


def _build_token_lines(rows: Sequence[TokenRow], latency_label: str, width: int) -> list[str]:
    """Return tables of throughput, TTFT, TPOT, ITL and latency by stage, as many as needed for the
    width, followed by a legend and the distinct reasons for missing values."""
    if not rows:
        return []
    shown_rows = rows[:_MAX_ROWS]
    groups = [
        [[header, *(_format_aggregate(read(row)) for row in shown_rows)] for header, read in group]
        for group in _list_token_column_groups(latency_label)
        if any(read(row).value is not None or read(row).is_undersampled for row in shown_rows for _, read in group)
    ]
    counts = [row.latency_p50.n for row in shown_rows]
    count_column = ["n", *(formatting.NOT_AVAILABLE if n is None else formatting.format_count(n) for n in counts)]
    stage_column = ["stage", *(row.stage for row in shown_rows)]
    tables = _pack_columns(stage_column, [[count_column], *groups], width)
    missing_reasons = {
        f"{name} n/a: {quantity.reason}": None
        for row in rows
        for name, quantity in (
            ("ITL", row.itl_p50),
            ("TPOT", row.tpot_p50),
            ("ICL", row.icl_p99),
            ("TTFT", row.ttft_p50),
        )
        if quantity.value is None and not quantity.is_undersampled and quantity.reason
    }
    has_few_samples = any(_FEW_SAMPLES in cell for table in tables for column in table for cell in column[1:])
    legend = f"times in ms{f'; {_FEW_SAMPLES} too few samples' if has_few_samples else ''}"
    return [
        *_format_tables(tables),
        *_build_more_note(len(rows)),
        f"{legend}; coalesced: chunks read together (no ITL gap)",
        *missing_reasons,
    ]


_AUDIO_COLUMNS = ("ttfa_p50", "audio_mean")


def _build_media_lines(rows: Sequence[MediaRow], width: int) -> list[str]:
    """Return tables of the audio and images by stage, as many as needed for the width."""
    if not rows:
        return []
    shown_rows = rows[:_MAX_ROWS]
    columns = formatting.list_media_columns(shown_rows)
    groups = [[[formatting.MEDIA_HEADERS[name], *map(_format_aggregate, cells)]] for name, cells in columns]
    tables = _pack_columns(["stage", *(row.stage for row in shown_rows)], groups, width)
    has_few_samples = any(_FEW_SAMPLES in cell for table in tables for column in table for cell in column[1:])
    has_audio = any(name in _AUDIO_COLUMNS for name, _ in columns)
    legend = [
        *(["times in ms, mean audio in s; RTF: service or response time / audio duration"] if has_audio else []),
        *([f"{_FEW_SAMPLES} too few samples"] if has_few_samples else []),
    ]
    return [*_format_tables(tables), *_build_more_note(len(rows)), *(["; ".join(legend)] if legend else [])]


def _build_message_lines(rows: Sequence[MessageRow], width: int) -> list[str]:
    """Return tables of the streams of messages by stage, as many as needed for the width."""
    if not rows:
        return []
    shown_rows = rows[:_MAX_ROWS]
    groups = [
        [[header, *(_format_aggregate(read(row)) for row in shown_rows)] for header, read in group]
        for group in _MESSAGE_COLUMN_GROUPS
    ]
    tables = _pack_columns(["stage", *(row.stage for row in shown_rows)], groups, width)
    return [*_format_tables(tables), *_build_more_note(len(rows)), "times in ms; gap: between messages of a stream"]


_MESSAGE_COLUMN_GROUPS: tuple[tuple[tuple[str, Callable[[MessageRow], Quantity]], ...], ...] = (
    (("messages/s", lambda row: row.per_s), ("per response", lambda row: row.per_response)),
    (("p50 first message", lambda row: row.first_p50), ("p95", lambda row: row.first_p95),
     ("p99", lambda row: row.first_p99)),
    (("p50 gap", lambda row: row.gap_p50), ("p95", lambda row: row.gap_p95), ("p99", lambda row: row.gap_p99)),
)  # fmt: skip
_FEW_SAMPLES = "*"

_ClassColumn = tuple[str, Callable[[ClassRow], str]]


def _list_class_column_groups(section: ClassSection, latency_label: str) -> Iterator[tuple[_ClassColumn, ...]]:
    """Yield the columns of the table of classes. The columns of a group are shown in the same
    table."""
    yield (
        ("SLO", formatting.format_class_state),
        ("share", lambda row: _format_value_unit(row.share)),
        ("weight", lambda row: formatting.format_percent(row.weight_share)),
    )
    yield ("n", lambda row: formatting.format_count(row.requests)), ("req/s", lambda row: _format_ms(row.throughput))
    yield (("failed", lambda row: _format_ms(row.error_rate)), ("goodput", lambda row: _format_ms(row.goodput)))
    if section.has_tokens:
        yield (
            ("p50 TTFT", lambda row: _format_aggregate(row.ttft_p50)),
            ("p95", lambda row: _format_aggregate(row.ttft_p95)),
        )
        yield (
            ("p50 TPOT", lambda row: _format_aggregate(row.tpot_p50)),
            ("p95", lambda row: _format_aggregate(row.tpot_p95)),
        )
        yield (("p99 ITL", lambda row: _format_aggregate(row.itl_p99)),)
    yield (
        (f"p50 {latency_label}", lambda row: _format_aggregate(row.latency_p50)),
        ("p95", lambda row: _format_aggregate(row.latency_p95)),
    )
    if section.has_tokens:
        yield ("tok/s", lambda row: _format_ms(row.output_tokens_per_s)), ("cached", lambda row: _format_ms(row.cached))


def _build_class_lines(section: ClassSection | None, latency_label: str, width: int) -> list[str]:
    """Return tables that compare the classes of requests in one stage."""
    if section is None:
        return []
    shown_rows = section.overview[:_MAX_CLASS_ROWS]
    groups = [
        [[header, *map(format_row, shown_rows)] for header, format_row in group]
        for group in _list_class_column_groups(section, latency_label)
    ]
    tables = _pack_columns(["class", *(row.name for row in shown_rows)], groups, width)
    has_few_samples = any(_FEW_SAMPLES in cell for table in tables for column in table for cell in column[1:])
    legend = f"in {section.stage}; times in ms{f'; {_FEW_SAMPLES} too few samples' if has_few_samples else ''}"
    omitted_count = len(section.overview) - len(shown_rows)
    more_note = [f"… and {omitted_count} more classes in the report"] if omitted_count else []
    return [*_format_tables(tables), *more_note, legend]


def _describe_steady_state(row: SteadyRow) -> str:
    return (
        f"{row.stage}: from {formatting.format_duration(row.start_s)} to {formatting.format_duration(row.end_s)}, "
        f"{_format_value_unit(row.steady_throughput)} (whole stage {_format_value_unit(row.throughput)}), "
        f"p50 {_format_value_unit(row.steady_p50)} ({_format_value_unit(row.p50)}), "
        f"p95 {_format_value_unit(row.steady_p95)} ({_format_value_unit(row.p95)})"
    )


def _build_breakdown_lines(section: BreakdownSection | None, width: int) -> list[str]:
    """Return the table of where the latency was spent, with what would shorten it."""
    if section is None:
        return []
    columns = [
        ["n", *(formatting.format_count(row.requests) for row in section.rows)],
        *(
            [part.name, *(_format_value(row.parts[index].quantity) for row in section.rows)]
            for index, part in enumerate(section.rows[0].parts)
        ),
        ["unknown", *(_format_value(row.unknown) for row in section.rows)],
        ["latency", *(_format_value(row.latency) for row in section.rows)],
    ]
    tables = _pack_columns(["ms", *(row.aggregate for row in section.rows)], [[column] for column in columns], width)
    return [*_format_tables(tables), section.sentence, section.note]


_ServerColumn = tuple[str, Callable[[ServerRow], Quantity]]
_SERVER_COLUMN_GROUPS: tuple[tuple[_ServerColumn, ...], ...] = (
    (("queue", lambda row: row.queue), ("prefill", lambda row: row.prefill), ("decode", lambda row: row.decode)),
    (("server TTFT", lambda row: row.ttft), ("client", lambda row: row.client_ttft)),
    (("server ITL", lambda row: row.itl), ("client", lambda row: row.client_itl)),
    (("server E2E", lambda row: row.e2e), ("client", lambda row: row.client_e2e)),
    (("cached input", lambda row: row.cached),),
    (("preemptions", lambda row: row.preemptions),),
)


def _build_server_lines(rows: Sequence[ServerRow], width: int) -> list[str]:
    """Return tables of what the target's servers counted in each stage; groups of columns that no
    server reports are omitted."""
    shown_rows = rows[:_MAX_ROWS]
    groups = [
        [[header, *(_format_ms(read(row)) for row in shown_rows)] for header, read in group]
        for group in _SERVER_COLUMN_GROUPS
        if any(group[0][1](row).value is not None or group[-1][1](row).value is not None for row in shown_rows)
    ]
    if not groups:
        return []
    tables = _pack_columns(["stage", *(row.stage for row in shown_rows)], groups, width)
    remaining_count = len(rows) - len(shown_rows)
    return [
        *_format_tables(tables),
        "Mean latencies in ms, as the server reports them; the client's start at the send of the request.",
        *([f"… and {remaining_count} more in the report"] if remaining_count else []),
    ]


def _format_aggregate(quantity: Quantity) -> str:
    """Format a value without unit. If it is based on too few samples, it is dimmed and followed by
    an asterisk, since the number of samples would widen the table."""
    if not quantity.is_undersampled:
        return _format_ms(quantity)
    text = formatting.format_value(msgspec.structs.replace(quantity, n=None))
    return dim_undersampled(quantity, f"{text}{_FEW_SAMPLES}")


_TextColumn = list[str]


def _pack_columns(
    first_column: _TextColumn, groups: Sequence[list[_TextColumn]], width: int
) -> list[list[_TextColumn]]:
    """Distribute groups of columns over as few tables as possible, in order. Each table begins with
    the first column, and is at most `width` wide unless a single group is wider."""
    tables: list[list[_TextColumn]] = []
    for group in groups:
        if tables and _compute_table_width([*tables[-1], *group]) <= width:
            tables[-1] += group
        else:
            tables.append([first_column, *group])
    return tables


def _format_tables(tables: Sequence[list[_TextColumn]]) -> list[str]:
    return [line for table in tables for line in _format_table([*zip(*table, strict=True)])]


def _compute_table_width(columns: Sequence[_TextColumn]) -> int:
    return sum(max(map(compute_display_width, column)) + 2 for column in columns) - 2


def _format_ms(quantity: Quantity) -> str:
    return _format_value_unit(quantity) if quantity.unit == "share" else _format_value(quantity)


def _build_error_lines(errors: Sequence[ErrorRow]) -> list[str]:
    """Return one line for each error class of the whole run."""
    lines = [
        f"{row.error}: {formatting.format_count(row.count)}, {_format_value_unit(row.share)} of all "
        "requests" + ("" if row.sample is None else f"; first example: {row.sample}")
        for row in errors[:_MAX_ROWS]
    ]
    return [*lines, *_build_more_note(len(errors))]


def _describe_spike(row: SpikeSummary) -> str:
    violated_text, drained_text = _format_value_unit(row.slo_violated), _format_value_unit(row.drained)
    reason_texts = [f"{quantity.reason}" for quantity in (row.slo_violated, row.drained) if quantity.reason]
    reason_note = f" ({'; '.join(reason_texts)})" if reason_texts else ""
    return (
        f"{row.stage}: {formatting.format_plain(row.baseline_per_s)} to "
        f"{formatting.with_unit(formatting.format_plain(row.peak_per_s), 'req/s')} for "
        f"{formatting.format_duration(row.spike_s)}; SLO violated for {violated_text}, peak backlog "
        f"{_format_value_unit(row.backlog_peak)}, drained {drained_text} after the spike{reason_note}"
    )


def _build_knee_lines(knees: KneeSection | None) -> list[str]:
    if knees is None:
        return []
    lines = [
        f"{row.method}: {_format_value_unit(row.at)}"
        + (
            f", mean latency {_format_value_unit(row.latency)}"
            if row.at.value is not None
            else _format_reason_suffix(row.at)
        )
        for row in knees.rows
    ]
    return [*lines, *([knees.note] if knees.note else [])]


def _build_cold_start_lines(phases: Sequence[NamedQuantity]) -> list[str]:
    phase_texts = [
        f"{phase.name} after {_format_value_unit(phase.quantity)}{_format_reason_suffix(phase.quantity)}"
        for phase in phases
    ]
    return [", ".join(phase_texts)] if phase_texts else []


def _format_reason_suffix(quantity: Quantity) -> str:
    return f" ({quantity.reason})" if quantity.value is None and quantity.reason else ""


def _build_group_lines(group: GroupTable) -> list[str]:
    lines = [
        f"{row.label}: {formatting.format_count(row.requests)} requests ({formatting.format_percent(row.share)}), "
        f"{formatting.format_count(row.failed)} failed, p50 {_format_value_unit(row.p50)}, "
        f"p95 {_format_value_unit(row.p95)}"
        for row in group.rows[:_MAX_ROWS]
    ]
    return [*lines, *_build_more_note(len(group.rows))]


def _build_worker_lines(rows: Sequence[WorkerRow]) -> list[str]:
    lines = [
        f"worker {row.worker} on {row.host}: sent {formatting.format_count(row.sent)}"
        + ("" if row.cpu.value is None else f", CPU time {_format_value_unit(row.cpu)}")
        + f", max send lag {_format_value_unit(row.max_lag)}"
        + ("" if row.clock.value is None else f", max clock error {_format_value_unit(row.clock)}")
        + ("" if row.lost_s is None else f"; disconnected at {formatting.format_duration(row.lost_s)}")
        for row in rows[:_MAX_ROWS]
    ]
    return [*lines, *_build_more_note(len(rows))]


def _build_more_note(count: int) -> list[str]:
    return [f"… and {count - _MAX_ROWS} more in the report"] if count > _MAX_ROWS else []


def _build_model_lines(model: ModelSection | None) -> list[str]:
    if model is None:
        return []
    best_row = max(model.batches, key=lambda row: row.throughput.value or 0.0)
    distinct_rows = dict.fromkeys((model.batches[0], best_row))
    accuracy_text = f"; accuracy {_format_quantity(model.accuracy)}" if model.accuracy else ""
    return [f"{model.name} without server{accuracy_text}", *map(_format_batch, distinct_rows)]


def _build_local_blocks(local: LocalSection | None, width: int) -> list[list[str]]:
    if local is None:
        return []
    table_lines = _format_table(build_variant_table(local, width - _MARGIN, mark_status))
    variant_lines = [
        f"{local.common}; times in ms" if table_lines and not local.is_language_model else local.common,
        *table_lines,
        *build_remaining_variant_lines(local),
    ]
    test_lines = _format_table(build_test_table(local, width - _MARGIN, mark_status))
    if test_lines:
        test_lines = ["rates with 95 % intervals; times in ms", *test_lines]
    return [
        _build_block(title, lines, width)
        for title, lines in (("Tests", test_lines), ("Variants", variant_lines), *build_headline_variant_lines(local))
    ]


def _format_batch(row: BatchRow) -> str:
    p50_text, p95_text = (_format_value_unit(quantity) for quantity in (row.p50, row.p95))
    throughput_text = formatting.format_inference_rate(row.throughput)
    provider_name = row.provider.removesuffix("ExecutionProvider")
    return f"batch {row.batch} on {provider_name}: p50 {p50_text}, p95 {p95_text}, {throughput_text}"
