"""Render the terminal summary as plain text: the decision or the result, its caveats, then the
numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from reports import formatting
from reports.comparison_text import comparison_summary_lines
from reports.decision import decide_run, leads_with_plan, list_warnings, summarize_caveats, tiles_beside_decision
from reports.definitions import definition_blocks
from reports.formatting import sanitize
from reports.local_model import LocalSection
from reports.local_text import headline_variant_lines, remaining_variant_lines, variant_table
from reports.marks import dim_undersampled, drop_marks, mark_status, pad, shown_width
from reports.model import (
    BatchRow,
    CheckRow,
    ErrorRow,
    GroupTable,
    HeadlineTile,
    KneeSection,
    ModelSection,
    NamedQuantity,
    ObjectiveRow,
    PlanSection,
    Quantity,
    Report,
    SelfTestRow,
    SpikeSummary,
    StageRow,
    TokenRow,
    WorkerRow,
)
from reports.plan_text import decision_lines, offer_lines
from reports.plan_text import detail_lines as plan_lines

_MARGIN = 11
_PLAN_MARGIN = 13
_MIN_COLUMN_WIDTH = 14
_MAX_ROWS = 8


def render_text(report: Report, width: int = 100, *, with_marks: bool = False) -> str:
    """Render a terminal summary of one or two screens at most, without a trailing newline.

    `with_marks` leaves the marks of `reports.marks` in the text, so that a terminal can color
    them.
    """
    report = sanitize(report)
    header, verdict = report.header, report.verdict
    location = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    location = location if header.user_title is None else f"{header.title}: {location}"
    planned = report.plan if leads_with_plan(report) else None
    blocks = [
        [
            f"{mark_status(verdict.outcome)}  {header.name} (measurement {mark_status(verdict.validity)})",
            *_wrapped(location, width, 0),
        ],
        _block("Decision", decision_lines(planned) if planned else [], width),
        _block("Result", _result(report), width),
        _block("Self-test", _selftest(report.selftest), width),
        _block("Numbers", _tiles(tiles_beside_decision(report), width - _MARGIN), width),
        _block("SLO", [*map(_objective, report.objectives)], width),
        _block("Checks", _checks(report.checks), width),
        _block("Notes", report.notes, width),
        _block("Comparison", comparison_summary_lines(report.comparison) if report.comparison else [], width),
        _block("Stages", _stages(report.stages, formatting.metric_name(report.times)), width),
        _block("Tokens", _tokens(report.tokens), width),
        _block("Spikes", [*map(_spike, report.spikes)], width),
        _block("Knee", _knees(report.knees), width),
        _block("Cold start", _cold_start(report.cold_start), width),
        *(_block(f"By {group.column}", _group(group), width) for group in report.groups),
        _block("Workers", _workers(report.workers), width),
        _block("Errors", _errors(report.errors), width),
        _block("Model", _model(report.model), width),
        *_local(report.local, width),
        _block("Plan", _plan(report.plan, is_decided=planned is not None), width),
    ]
    if report.definitions is not None:
        blocks += definition_blocks(report.definitions, width)
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    text = text.replace(formatting.THIN, " ")  # some terminal fonts have no thin space
    return text if with_marks else drop_marks(text)


def render_plan(plan: PlanSection, width: int = 100) -> str:
    """Render a plan without a run, with all details of the recommended fleet."""
    plan = sanitize(plan)
    caveats = summarize_caveats(list(plan.checks))
    titled = (
        ("Decision", [*decision_lines(plan), *([caveats] if caveats else [])]),
        ("Plan", offer_lines(plan)),
        *plan_lines(plan),
        ("Caveats", [*map(formatting.check_text, plan.checks)]),
    )
    blocks = [_block(title, lines, width, _PLAN_MARGIN) for title, lines in titled]
    return "\n\n".join("\n".join(block) for block in blocks if block).replace(formatting.THIN, " ")


def _block(title: str, lines: Sequence[str], width: int, margin: int = _MARGIN) -> list[str]:
    """Indent lines by a margin that contains the title in its first line."""
    wrapped = [part for line in lines for part in _wrapped(line, width, margin)]
    return [title.ljust(margin) + wrapped[0].lstrip(), *wrapped[1:]] if wrapped else []


def _wrapped(line: str, width: int, margin: int) -> list[str]:
    indent = " " * margin
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


def _result(report: Report) -> list[str]:
    """Return the lines about the result of a run: headline, evidence, reasons for the outcome, and
    caveats."""
    verdict, result = report.verdict, decide_run(report)
    headline = f"{verdict.stamp} {result.headline}" if verdict.stamp else result.headline
    evidence = "" if leads_with_plan(report) else result.evidence
    lines = (headline, f"{result.sentence} {verdict.detail}".strip(), evidence, *_reasons(report), *_caveats(report))
    return [line for line in lines if line]


def _reasons(report: Report) -> Iterator[str]:
    yield from (f"- {reason}" for reason in report.verdict.reasons)


def _caveats(report: Report) -> list[str]:
    """Return the number of caveats and their names, followed by the INVALID checks in full. The
    report shows all other caveats below the numbers."""
    warnings = list_warnings(report)
    invalid = [_check(check) for check in warnings if check.verdict == "INVALID"]
    return [line for line in (summarize_caveats(warnings, len(report.notes)), *invalid) if line]


def _plan(plan: PlanSection | None, *, is_decided: bool) -> list[str]:
    if plan is None:
        return []
    decision = [] if is_decided else decision_lines(plan)
    offers = offer_lines(plan, is_decided=is_decided)
    return [*decision, *offers, *map(_check, plan.checks), *plan.notes]


def _checks(checks: Sequence[CheckRow]) -> list[str]:
    not_valid = [check for check in checks if check.verdict != "VALID"]
    if not checks:
        return ["none"]
    if not not_valid:
        return [f"{formatting.format_count_noun(len(checks), 'check')} passed"]
    return [*map(_check, not_valid), f"{len(checks) - len(not_valid)} of {len(checks)} checks passed"]


def _check(check: CheckRow) -> str:
    return formatting.check_text(check, mark_status)


def _selftest(selftest: SelfTestRow | None) -> list[str]:
    """Return the outcome of the self-test; empty if no self-test was run, which only the HTML
    report states."""
    if selftest is None:
        return []
    outcome = "passed" if selftest.passed else f"{mark_status('FAILED')}: {', '.join(selftest.failed)}"
    return [f"{selftest.id}, {selftest.at[:10]}, {outcome}"]


def _tiles(tiles: Sequence[HeadlineTile], width: int) -> list[str]:
    """Format the headline tiles as text columns (label, value, limit, basis). The column spacing
    must not be wrapped."""
    rows = [
        (tile.label, _format_quantity(tile.quantity), _limit(tile), f"{_basis(tile)}{note}")
        for tile, note in zip(tiles, _distinct_notes(tiles), strict=True)
    ]
    widths = [max((shown_width(row[column]) for row in rows), default=0) for column in range(3)]
    return [line for row in rows for line in _columns(row, widths, width)]


def _columns(row: tuple[str, str, str, str], widths: list[int], width: int) -> list[str]:
    """Join the cells of a row with column spacing. If the line is too long, the last cell is
    wrapped within its column."""
    before = "".join(f"{pad(cell, size)}  " for cell, size in zip(row, widths, strict=False) if size)
    room = shown_width(before)
    first, *rest = textwrap.wrap(row[3], max(width - room, _MIN_COLUMN_WIDTH)) or [""]
    return [before + first, *(" " * room + part for part in rest)]


def _limit(tile: HeadlineTile) -> str:
    return f"SLO {formatting.format_limit(tile.limit)}" if tile.limit else ""


def _basis(tile: HeadlineTile) -> str:
    if tile.quantity.value is None:
        return tile.quantity.reason or ""
    return mark_status("INVALID") if tile.quantity.validity == "INVALID" else tile.quantity.basis


def _distinct_notes(tiles: Sequence[HeadlineTile]) -> Iterator[str]:
    """Yield the note of each tile; a note that several tiles share appears only with the first of
    them."""
    already_shown: set[str | None] = set()
    for tile in tiles:
        is_cost = tile.quantity.unit.startswith("USD")  # the plan states the traffic that a cost refers to
        is_new = tile.quantity.value is not None and tile.note not in already_shown and not is_cost
        yield f", {tile.note}" if is_new and tile.note else ""
        already_shown |= {tile.note} if is_new else set()


def _objective(row: ObjectiveRow) -> str:
    implied = " (default: no error limit set)" if row.implied else ""
    location = f" in {row.stage}" if row.stage else ""
    reason = f"; {row.why}" if row.why else ""
    observed = _format_quantity(row.observed)
    return f"{mark_status(row.outcome)} {row.display_text}{implied}: {observed}{location}{reason}"


def _stages(stages: Sequence[StageRow], times: str) -> list[str]:
    """Return a table of the stages that the profile defines. The steps of a search are omitted: its
    result is shown elsewhere, and its probes are listed in the full report."""
    rows = [row for row in stages if row.kind in ("steady", "closed", "varying", "spike")]
    if not rows:
        return []
    has_results = any(row.meets_slo is not None for row in rows)
    header = ("stage", "load", "throughput", f"p50 {times}", "p95", "failed", "SLO" if has_results else "")
    invalid_notes = [
        f"{mark_status(row.validity)} {row.name}: {row.reasons[0]}"
        for row in rows
        if row.validity == "INVALID" and row.reasons
    ]
    return [*_table([header, *map(_stage, rows[:_MAX_ROWS])]), *_more_note(len(rows)), *invalid_notes[:_MAX_ROWS]]


def _stage(row: StageRow) -> tuple[str, ...]:
    states = {"failed": "missed", "not evaluated": "", "passed": "met", "INVALID": mark_status("INVALID")}
    state = formatting.stage_state(row)
    return (
        f"{row.name} #{row.repeat}" if row.repeat > 1 else row.name,
        _arrivals(row),
        formatting.NOT_AVAILABLE if row.responses is None else _format_value_unit(row.responses),
        _format_value_unit(row.p50),
        _format_value_unit(row.p95),
        formatting.format_count(row.failed),
        states[state],
    )


def _arrivals(row: StageRow) -> str:
    if row.kind == "closed" and row.clients is not None:
        return f"concurrency {formatting.format_count(row.clients)}"
    return row.arrivals or row.kind


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as aligned text columns, omitting empty columns."""
    if not rows:
        return []
    widths = [max(map(shown_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows
    ]


_TOKEN_COLUMNS = ("stage", "TTFT p50", "p95", "TPOT p50", "ITL p50", "p99", "ICL p99", "tok/s", "coalesced")


def _tokens(rows: Sequence[TokenRow]) -> list[str]:
    """Return a table of TTFT, TPOT, ITL and ICL in ms, followed by the reasons for missing values,
    each reason once."""
    if not rows:
        return []
    cells = [[row.stage, *map(_in_ms, _token_quantities(row))] for row in rows[:_MAX_ROWS]]
    missing = {
        f"{name} n/a: {quantity.reason}": None
        for row in rows
        for name, quantity in (
            ("ITL", row.itl_p50),
            ("TPOT", row.tpot_p50),
            ("ICL", row.icl_p99),
            ("TTFT", row.ttft_p50),
        )
        if quantity.value is None and quantity.reason
    }
    legend = "times in ms; coalesced: chunks read together (no ITL gap)"
    return [*_table([_TOKEN_COLUMNS, *cells]), *_more_note(len(rows)), legend, *missing]


def _token_quantities(row: TokenRow) -> tuple[Quantity, ...]:
    times = (row.ttft_p50, row.ttft_p95, row.tpot_p50, row.itl_p50, row.itl_p99, row.icl_p99)
    return (*times, row.tokens_per_s, row.coalesced)


def _in_ms(quantity: Quantity) -> str:
    return _format_value_unit(quantity) if quantity.unit == "share" else _format_value(quantity)


def _errors(errors: Sequence[ErrorRow]) -> list[str]:
    """Return a line for each class of error of the whole run."""
    lines = [
        f"{row.error}: {formatting.format_count(row.count)}, {_format_value_unit(row.share)} of all "
        "requests" + ("" if row.sample is None else f"; first example: {row.sample}")
        for row in errors[:_MAX_ROWS]
    ]
    return [*lines, *_more_note(len(errors))]


def _spike(row: SpikeSummary) -> str:
    violated, drained = _format_value_unit(row.slo_violated), _format_value_unit(row.drained)
    reasons = [f"{quantity.reason}" for quantity in (row.slo_violated, row.drained) if quantity.reason]
    reason_note = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{row.stage}: {formatting.format_plain(row.baseline_per_s)} to "
        f"{formatting.with_unit(formatting.format_plain(row.peak_per_s), 'req/s')} for "
        f"{formatting.format_duration(row.spike_s)}; SLO violated for {violated}, peak backlog "
        f"{_format_value_unit(row.backlog_peak)}, drained {drained} after the spike{reason_note}"
    )


def _knees(knees: KneeSection | None) -> list[str]:
    if knees is None:
        return []
    lines = [
        f"{row.method}: {_format_value_unit(row.at)}"
        + (f", mean latency {_format_value_unit(row.latency)}" if row.at.value is not None else _reason_suffix(row.at))
        for row in knees.rows
    ]
    return [*lines, *([knees.note] if knees.note else [])]


def _cold_start(parts: Sequence[NamedQuantity]) -> list[str]:
    listed = [f"{part.name} after {_format_value_unit(part.quantity)}{_reason_suffix(part.quantity)}" for part in parts]
    return [", ".join(listed)] if listed else []


def _reason_suffix(quantity: Quantity) -> str:
    return f" ({quantity.reason})" if quantity.value is None and quantity.reason else ""


def _group(group: GroupTable) -> list[str]:
    lines = [
        f"{row.label}: {formatting.format_count(row.requests)} requests ({formatting.format_percent(row.share)}), "
        f"{formatting.format_count(row.failed)} failed, p50 {_format_value_unit(row.p50)}, "
        f"p95 {_format_value_unit(row.p95)}"
        for row in group.rows[:_MAX_ROWS]
    ]
    return [*lines, *_more_note(len(group.rows))]


def _workers(rows: Sequence[WorkerRow]) -> list[str]:
    lines = [
        f"worker {row.worker} on {row.host}: sent {formatting.format_count(row.sent)}"
        + ("" if row.cpu.value is None else f", CPU time {_format_value_unit(row.cpu)}")
        + f", max send lag {_format_value_unit(row.max_lag)}"
        + ("" if row.clock.value is None else f", max clock error {_format_value_unit(row.clock)}")
        + ("" if row.lost_s is None else f"; disconnected at {formatting.format_duration(row.lost_s)}")
        for row in rows[:_MAX_ROWS]
    ]
    return [*lines, *_more_note(len(rows))]


def _more_note(count: int) -> list[str]:
    return [f"… and {count - _MAX_ROWS} more in the report"] if count > _MAX_ROWS else []


def _model(model: ModelSection | None) -> list[str]:
    if model is None:
        return []
    best = max(model.batches, key=lambda row: row.throughput.value or 0.0)
    rows = dict.fromkeys((model.batches[0], best))
    accuracy = f"; accuracy {_format_quantity(model.accuracy)}" if model.accuracy else ""
    return [f"{model.name} without server{accuracy}", *map(_batch, rows)]


def _local(local: LocalSection | None, width: int) -> list[list[str]]:
    if local is None:
        return []
    table = _table(variant_table(local, width - _MARGIN, mark_status))
    variants = [f"{local.common}; times in ms" if table else local.common, *table, *remaining_variant_lines(local)]
    return [_block(title, lines, width) for title, lines in (("Variants", variants), *headline_variant_lines(local))]


def _batch(row: BatchRow) -> str:
    p50, p95 = (_format_value_unit(quantity) for quantity in (row.p50, row.p95))
    throughput = formatting.format_inference_rate(row.throughput)
    provider = row.provider.removesuffix("ExecutionProvider")
    return f"batch {row.batch} on {provider}: p50 {p50}, p95 {p95}, {throughput}"
