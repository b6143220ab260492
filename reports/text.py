"""The summary a terminal shows: verdict, what to doubt, then the numbers. Plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from reports import formatting
from reports.comparison_text import comparison_lines
from reports.definitions import definition_blocks
from reports.formatting import printable
from reports.local_model import LocalSection
from reports.local_text import best_lines, more_lines, variant_lines
from reports.model import (
    BatchRow,
    CheckRow,
    ErrorRow,
    GroupTable,
    HeadlineTile,
    KneeSection,
    ModelSection,
    Named,
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
from reports.plan_text import more_lines as plan_lines
from reports.plan_text import summary_lines

_MARGIN = 10
_NARROWEST = 14
_MOST_ROWS = 8


def render_text(report: Report, width: int = 100) -> str:
    """Not longer than a screen or two, whatever the run; without a line break at the end."""
    report = printable(report)
    header, verdict = report.header, report.verdict
    where = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    where = where if header.called is None else f"{header.title}: {where}"
    blocks = [
        [f"{verdict.outcome}  {header.name} (measurement {verdict.trust})", *_wrapped(where, width, 0)],
        _block("Checks", _checks(report.checks), width),
        _block("Self-test", _selftest(report.selftest), width),
        _block("Answer", [verdict.sentence, *(f"- {reason}" for reason in verdict.reasons)], width),
        _block("Notes", report.notes, width),
        _block("Numbers", _tiles(report.tiles, width - _MARGIN), width),
        _block("SLO", [*map(_objective, report.objectives)], width),
        _block("Compared", comparison_lines(report.comparison) if report.comparison else [], width),
        _block("Stages", _stages(report.stages, formatting.metric(report.times)), width),
        _block("Tokens", _tokens(report.tokens), width),
        _block("Spikes", [*map(_spike, report.spikes)], width),
        _block("Knee", _knees(report.knees), width),
        _block("Start", _cold_start(report.cold_start), width),
        *(_block(f"By {group.column}", _group(group), width) for group in report.groups),
        _block("Workers", _workers(report.workers), width),
        _block("Errors", _errors(report.errors), width),
        _block("Model", _model(report.model), width),
        *_local(report.local, width),
        _block("Plan", summary_lines(report.plan) if report.plan else [], width),
    ]
    if report.definitions is not None:
        blocks += definition_blocks(report.definitions, width)
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    return text.replace(formatting.THIN, " ")  # a thin space is not in every terminal's font


def render_plan(plan: PlanSection, width: int = 100) -> str:
    """The plan alone, with all that is known of the recommended fleet."""
    plan = printable(plan)
    blocks = [_block(title, lines, width) for title, lines in (("Plan", summary_lines(plan)), *plan_lines(plan))]
    return "\n\n".join("\n".join(block) for block in blocks if block).replace(formatting.THIN, " ")


def _block(title: str, lines: Sequence[str], width: int) -> list[str]:
    """The lines behind a margin that carries the title."""
    wrapped = [part for line in lines for part in _wrapped(line, width, _MARGIN)]
    return [title.ljust(_MARGIN) + wrapped[0].lstrip(), *wrapped[1:]] if wrapped else []


def _wrapped(line: str, width: int, margin: int) -> list[str]:
    indent = " " * margin
    return textwrap.wrap(
        line,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  " * bool(margin),
        break_on_hyphens=False,
    )


def _checks(checks: Sequence[CheckRow]) -> list[str]:
    doubtful = [check for check in checks if check.verdict != "VALID"]
    if not checks:
        return ["none was made"]
    if not doubtful:
        return [f"{len(checks)} checks, all valid"]
    return [*map(_check, doubtful), f"{len(checks) - len(doubtful)} of {len(checks)} checks are valid"]


def _selftest(selftest: SelfTestRow | None) -> list[str]:
    """Where there was none, the report says so and the summary does not."""
    if selftest is None:
        return []
    outcome = "passed" if selftest.passed else f"FAILED: {', '.join(selftest.failed)}"
    return [f"{selftest.id}, {selftest.at[:10]}, {outcome}"]


def _check(check: CheckRow) -> str:
    limit = "" if check.limit is None else f", limit {formatting.check_limit(check)}"
    hint = f" {check.hint}" if check.hint else ""
    return f"{check.verdict} {check.name}: {formatting.check_value(check)}{limit}.{hint}"


def _tiles(tiles: Sequence[HeadlineTile], width: int) -> list[str]:
    """Label, number, limit, basis in columns; the spaces between them must not be folded."""
    rows = [
        (tile.label, formatting.quantity(tile.quantity), _limit(tile), f"{_basis(tile)}{note}")
        for tile, note in zip(tiles, _notes_once(tiles), strict=True)
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [line for row in rows for line in _columns(row, widths, width)]


def _columns(row: tuple[str, str, str, str], widths: list[int], width: int) -> list[str]:
    """The last column goes on below itself where the line is too short for it."""
    before = "".join(f"{cell.ljust(size)}  " for cell, size in zip(row, widths, strict=False) if size)
    first, *rest = textwrap.wrap(row[3], max(width - len(before), _NARROWEST)) or [""]
    return [before + first, *(" " * len(before) + part for part in rest)]


def _limit(tile: HeadlineTile) -> str:
    return f"SLO {formatting.limit(tile.limit)}" if tile.limit else ""


def _basis(tile: HeadlineTile) -> str:
    if tile.quantity.value is None:
        return tile.quantity.reason or ""
    return "INVALID" if tile.quantity.trust == "INVALID" else tile.quantity.basis


def _notes_once(tiles: Sequence[HeadlineTile]) -> Iterator[str]:
    """What a number is of, beside the first number that it holds for."""
    told: set[str | None] = set()
    for tile in tiles:
        is_cost = tile.quantity.unit.startswith("USD")  # what of is told with the plan
        is_new = tile.quantity.value is not None and tile.note not in told and not is_cost
        yield f", {tile.note}" if is_new and tile.note else ""
        told |= {tile.note} if is_new else set()


def _objective(row: ObjectiveRow) -> str:
    implied = " (implied: the SLO sets no limit on errors)" if row.implied else ""
    where = f" in {row.stage}" if row.stage else ""
    why = f"; {row.why}" if row.why else ""
    return f"{row.judgement} {row.text}{implied}: {formatting.quantity(row.observed)}{where}{why}"


def _stages(stages: Sequence[StageRow], times: str) -> list[str]:
    """What the profile asked for; of a search the answer is told, and its probes are in the report."""
    rows = [row for row in stages if row.kind in ("steady", "closed", "varying", "spike")]
    if not rows:
        return []
    is_judged = any(row.held is not None for row in rows)
    header = ("stage", "arrivals", "answered", f"{times} p50", "p95", "failed", "SLO" if is_judged else "")
    doubtful = [f"INVALID {row.name}: {row.reasons[0]}" for row in rows if row.trust == "INVALID" and row.reasons]
    return [*_table([header, *map(_stage, rows[:_MOST_ROWS])]), *_left_out(len(rows)), *doubtful[:_MOST_ROWS]]


def _stage(row: StageRow) -> tuple[str, ...]:
    states = {"failed": "not held", "not judged": ""}
    state = formatting.stage_state(row)
    return (
        f"{row.name} #{row.repeat}" if row.repeat > 1 else row.name,
        _arrivals(row),
        formatting.NOT_AVAILABLE if row.answered is None else formatting.value_unit(row.answered),
        formatting.value_unit(row.p50),
        formatting.value_unit(row.p95),
        formatting.count(row.failed),
        states.get(state, state),
    )


def _arrivals(row: StageRow) -> str:
    if row.kind == "closed" and row.clients is not None:
        return f"{formatting.count(row.clients)} {'client' if row.clients == 1 else 'clients'}"
    return row.arrivals or row.kind


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, empty ones left out."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows
    ]


_TOKEN_COLUMNS = ("stage", "TTFT p50", "p95", "TPOT p50", "ITL p50", "p99", "ICL p99", "tokens/s", "together")


def _tokens(rows: Sequence[TokenRow]) -> list[str]:
    """TTFT, TPOT, ITL and ICL in ms; why one is missing, once."""
    if not rows:
        return []
    cells = [[row.stage, *map(_in_ms, _token_quantities(row))] for row in rows[:_MOST_ROWS]]
    missing = {
        f"{name} n/a: {one.reason}": None
        for row in rows
        for name, one in (("ITL", row.itl_p50), ("TPOT", row.tpot_p50), ("ICL", row.icl_p99), ("TTFT", row.ttft_p50))
        if one.value is None and one.reason
    }
    told = "times in ms; together: chunks that came with the one before, so without a gap of their own"
    return [*_table([_TOKEN_COLUMNS, *cells]), *_left_out(len(rows)), told, *missing]


def _token_quantities(row: TokenRow) -> tuple[Quantity, ...]:
    times = (row.ttft_p50, row.ttft_p95, row.tpot_p50, row.itl_p50, row.itl_p99, row.icl_p99)
    return (*times, row.tokens_per_s, row.coalesced)


def _in_ms(one: Quantity) -> str:
    return formatting.value_unit(one) if one.unit == "share" else formatting.value(one)


def _errors(errors: Sequence[ErrorRow]) -> list[str]:
    """By class, of the whole run."""
    told = [
        f"{row.error}: {formatting.count(row.count)}, {formatting.value_unit(row.share)} of all arrivals of the run"
        + ("" if row.sample is None else f"; the first: {row.sample}")
        for row in errors[:_MOST_ROWS]
    ]
    return [*told, *_left_out(len(errors))]


def _spike(row: SpikeSummary) -> str:
    broken, drained = formatting.value_unit(row.slo_broken), formatting.value_unit(row.drained)
    reasons = [f"{one.reason}" for one in (row.slo_broken, row.drained) if one.reason]
    told = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{row.stage}: {formatting.plain(row.baseline_per_s)} to {formatting.plain(row.peak_per_s)}/s for "
        f"{formatting.seconds(row.spike_s)}: SLO broken for {broken}, at most "
        f"{formatting.value_unit(row.backlog_peak)} unanswered at once, drained {drained} after it{told}"
    )


def _knees(knees: KneeSection | None) -> list[str]:
    if knees is None:
        return []
    told = [
        f"{row.method}: {formatting.value_unit(row.at)}"
        + (f", mean {formatting.value_unit(row.latency)}" if row.at.value is not None else _why_not(row.at))
        for row in knees.rows
    ]
    return [*told, *([knees.note] if knees.note else [])]


def _cold_start(parts: Sequence[Named]) -> list[str]:
    told = [f"{part.name} after {formatting.value_unit(part.quantity)}{_why_not(part.quantity)}" for part in parts]
    return [", ".join(told)] if told else []


def _why_not(one: Quantity) -> str:
    return f" ({one.reason})" if one.value is None and one.reason else ""


def _group(group: GroupTable) -> list[str]:
    lines = [
        f"{row.label}: {formatting.count(row.requests)} requests ({formatting.percent(row.share)}), "
        f"{formatting.count(row.failed)} failed, p50 {formatting.value_unit(row.p50)}, "
        f"p95 {formatting.value_unit(row.p95)}"
        for row in group.rows[:_MOST_ROWS]
    ]
    return [*lines, *_left_out(len(group.rows))]


def _workers(rows: Sequence[WorkerRow]) -> list[str]:
    lines = [
        f"worker {row.worker} on {row.host}: sent {formatting.count(row.sent)}"
        + ("" if row.cpu.value is None else f" with {formatting.value_unit(row.cpu)} of CPU")
        + f", {formatting.value_unit(row.max_lag)} behind at most"
        + ("" if row.clock.value is None else f", clock off by {formatting.value_unit(row.clock)} at most")
        + ("" if row.lost_s is None else f"; lost at {formatting.seconds(row.lost_s)}")
        for row in rows[:_MOST_ROWS]
    ]
    return [*lines, *_left_out(len(rows))]


def _left_out(count: int) -> list[str]:
    return [f"… and {count - _MOST_ROWS} more in the report"] if count > _MOST_ROWS else []


def _model(local: ModelSection | None) -> list[str]:
    if local is None:
        return []
    best = max(local.batches, key=lambda row: row.throughput.value or 0.0)
    rows = dict.fromkeys((local.batches[0], best))
    accuracy = f"; accuracy {formatting.quantity(local.accuracy)}" if local.accuracy else ""
    return [f"{local.name} alone, measured{accuracy}", *map(_batch, rows)]


def _local(local: LocalSection | None, width: int) -> list[list[str]]:
    if local is None:
        return []
    table = _table(variant_lines(local, width - _MARGIN))
    variants = [f"{local.common}; times in ms" if table else local.common, *table, *more_lines(local)]
    return [_block(title, lines, width) for title, lines in (("Variants", variants), *best_lines(local))]


def _batch(row: BatchRow) -> str:
    p50, p95, throughput = (formatting.value_unit(one) for one in (row.p50, row.p95, row.throughput))
    return f"batch {row.batch} on {row.provider}: p50 {p50}, p95 {p95}, {throughput}"
