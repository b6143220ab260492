"""Tables of a report as DataFrames. Numbers remain Quantity values and are formatted as in the
report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import pandas as pd

from app.gui.formatting import capitalize_header, format_clock_time, format_duration
from reports import formatting
from reports.generation_series import BYTES_PER_GIB, list_memory
from reports.local_model import BottleneckRow, ColdStartRow, LocalSection, VariantRow
from reports.local_text import list_bottlenecks
from reports.model import (
    CheckRow,
    EnvironmentEntry,
    PlanSection,
    Report,
)
from reports.plan_sentences import format_cost_range
from reports.quantity import Quantity
from reports.sections.section import Cell, Noted, RowT, Section, Table, build_headers, format_cell

VARIANT_QUANTITIES = ("p50", "p95", "p99", "throughput", "cost")
OFFER_QUANTITIES = ("usd_per_month", "usd_per_1k", "latency", "utilization")


class SectionFrame(msgspec.Struct, frozen=True):
    """Table of a section of a report, with its headers by column, the columns of quantities and other numbers, the
    indices of INVALID rows, and warnings by row index."""

    title: str
    note: str
    frame: pd.DataFrame
    headers: dict[str, str]
    quantities: frozenset[str]
    invalid_rows: tuple[int, ...]
    hints: dict[int, str]


def build_section_frames(section: Section[Any], report: Report) -> list[SectionFrame]:
    """Return the tables of a section of the report; empty if the window does not show it."""
    return [build_section_frame(section, table, report) for table, _ in section.build_tables(report, "window")]


def build_section_frame(section: Section[RowT], table: Table[RowT], report: Report | None = None) -> SectionFrame:
    """Return a table of a section. Its rows may be about stages of the report."""
    columns = [*chain(*section.list_groups(table, "window"))]
    latency_label = "" if report is None else formatting.format_metric_label(report.times)
    headers = build_headers(columns, latency_label, is_short=False)
    has_intervals = "window" in section.intervals
    rows = [
        {column.key: _convert_cell(column.read_cell(row), has_intervals=has_intervals) for column in columns}
        for row in table.rows
    ]
    keys = [column.key for column in columns]
    invalid_stages = {stage.stage for stage in (report.stages if report else ()) if stage.validity == "INVALID"}
    return SectionFrame(
        title=table.title or section.format_caption(table, latency_label),
        note=table.note or section.note,
        frame=_frame(rows, keys),
        headers={key: capitalize_header(header) for key, header in zip(keys, headers, strict=True)},
        quantities=frozenset(key for key in keys if _has_quantities([row[key] for row in rows])),
        invalid_rows=tuple(
            index for index, row in enumerate(table.rows) if getattr(row, "stage", None) in invalid_stages
        ),
        hints={
            index: f"{getattr(row, 'validity', 'WARN')}: {'; '.join(warnings)}"
            for index, row in enumerate(table.rows)
            if (warnings := section.list_warnings(row))
        },
    )


def _convert_cell(cell: Cell, *, has_intervals: bool) -> Quantity | str | int | float:
    """Return the value of a cell. A quantity keeps its interval only if the section shows it."""
    if isinstance(cell, Noted):
        return _convert_cell(cell.value, has_intervals=has_intervals)
    if isinstance(cell, Quantity):
        return cell if has_intervals else _drop_interval(cell)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return cell
    return format_cell(cell, formatting.format_value_unit)


def _has_quantities(cells: Sequence[Quantity | str | int | float]) -> bool:
    """Return whether a column has quantities, or numbers that are no counts or not all available: it is sorted by
    value, as a column of counts is anyway."""
    numbers = [cell for cell in cells if isinstance(cell, (int, float))]
    others = [cell for cell in cells if not isinstance(cell, (int, float))]
    has_numbers = bool(numbers) and all(cell == formatting.NOT_AVAILABLE for cell in others)
    is_count = not others and all(isinstance(number, int) for number in numbers)
    return any(isinstance(cell, Quantity) for cell in others) or (has_numbers and not is_count)


def check_frame(rows: Sequence[CheckRow]) -> pd.DataFrame:
    return _frame(
        [
            {"verdict": row.verdict, "check": row.name, "observed": formatting.format_check_value(row),
             "limit": formatting.format_check_limit(row), "hint": row.hint or ""}
            for row in rows
        ],
        ("verdict", "check", "observed", "limit", "hint"),
    )  # fmt: skip


def environment_frame(rows: Sequence[EnvironmentEntry]) -> pd.DataFrame:
    return _frame([{"label": row.label, "value": row.value} for row in rows], ("label", "value"))


def variant_frame(local: LocalSection) -> tuple[pd.DataFrame, tuple[int, ...], dict[int, str]]:
    """Return the table of variants and scenarios, the row indices of INVALID scenarios, and hints
    by row index."""
    rows: list[dict[str, Any]] = []
    invalid_rows: list[int] = []
    hints: dict[int, str] = {}
    for variant in local.variants:
        for row in variant.scenarios:
            if row.validity == "INVALID":
                invalid_rows.append(len(rows))
            hint_lines = [*row.reasons, *variant.misses, *([variant.bottleneck.sentence] if variant.bottleneck else [])]
            if hint_lines:
                hints[len(rows)] = "\n".join(hint_lines)
            tried_text = "" if row.tried is None else f" (search step, {row.tried})"
            rows.append(
                {"variant": variant.name, "state": variant.state, "slo": variant.slo or formatting.NOT_AVAILABLE,
                 "scenario": f"{row.scenario}{tried_text}", "p50": row.p50, "p95": row.p95, "p99": row.p99,
                 "throughput": row.throughput, "cost": variant.cost, "calls": row.calls, "measurement": row.validity}
            )  # fmt: skip
        if not variant.scenarios:
            hints[len(rows)] = variant.reason or ""
            rows.append({"variant": variant.name, "state": variant.state, "scenario": variant.reason or ""})
    columns = ("variant", "state", "slo", "scenario", "p50", "p95", "p99", "throughput", "cost", "calls", "measurement")
    return _frame(rows, columns), tuple(invalid_rows), hints


def _name_with_state(variant: VariantRow) -> str:
    """Return the name of a variant, with its state unless it is merely measured."""
    return variant.name if variant.state == "measured" else f"{variant.name} ({variant.state})"


TEST_HEADERS = {
    "variant": "Variant", "slo": "SLO", "test": "Test", "prefill": "Prefill (tok/s)",
    "decode": "Decode (tok/s)", "ttft_p50": "p50 TTFT (ms)", "ttft_p99": "p99 TTFT (ms)",
    "itl_p50": "p50 ITL (ms)", "itl_p99": "p99 ITL (ms)", "e2e": "p50 E2E (ms)", "repetitions": "Repetitions",
    "measurement": "Validity",
}  # fmt: skip
TEST_QUANTITIES = ("prefill", "decode", "ttft_p50", "ttft_p99", "itl_p50", "itl_p99", "e2e")


def language_model_frame(local: LocalSection) -> tuple[pd.DataFrame, tuple[int, ...], dict[int, str]]:
    """Return the table of variants and tests of language models, the row indices of INVALID tests,
    and hints by row index. Columns without any value are omitted."""
    rows: list[dict[str, Any]] = []
    invalid_rows: list[int] = []
    hints: dict[int, str] = {}
    for variant in local.variants:
        for row in variant.tests:
            if row.validity == "INVALID":
                invalid_rows.append(len(rows))
            if hint_lines := [*row.reasons, *variant.misses]:
                hints[len(rows)] = "\n".join(hint_lines)
            quantities = {name: getattr(row, name) for name in TEST_QUANTITIES}
            rows.append(
                {"variant": _name_with_state(variant), "slo": variant.slo or formatting.NOT_AVAILABLE,
                 "test": row.label, "repetitions": row.repetitions,
                 "measurement": row.validity,
                 **{name: quantity or "–" for name, quantity in quantities.items()}}
            )  # fmt: skip
        if not variant.tests:
            hints[len(rows)] = variant.reason or ""
            rows.append({"variant": _name_with_state(variant), "test": variant.reason or ""})
    has_values = {name: any(isinstance(row.get(name), Quantity) for row in rows) for name in TEST_QUANTITIES}
    return _frame(rows, [name for name in TEST_HEADERS if has_values.get(name, True)]), tuple(invalid_rows), hints


BOTTLENECK_HEADERS = {
    "variant": "Variant", "phase": "Phase", "test": "Test", "limit": "Limited by", "share": "Share of the peak",
    "peak": "Peak", "basis": "Basis of the peak",
}  # fmt: skip


def bottleneck_frame(local: LocalSection) -> pd.DataFrame:
    """Return the table of what limits the prefill and the decode of language models."""
    return _frame(
        [
            {"variant": variant.name, "phase": phase, "test": row.test or formatting.NOT_AVAILABLE,
             "limit": row.limit or "no single bottleneck",
             "share": row.peak_share or Quantity(None, "share", reason="not stored by an older version"),
             "peak": _format_peak(row, phase), "basis": row.peak_basis or formatting.NOT_AVAILABLE}
            for variant in local.variants
            for phase, row in list_bottlenecks(variant)
        ],
        [*BOTTLENECK_HEADERS],
    )  # fmt: skip


def _format_peak(row: BottleneckRow, phase: str) -> str:
    peak, unit = (row.peak_flops_per_s, "GFLOP/s") if phase == "prefill" else (row.peak_bytes_per_s, "GB/s")
    if peak is None:
        return formatting.NOT_AVAILABLE
    return f"{formatting.with_unit(formatting.format_number(peak / 1e9), unit)}, {row.processor}"


MEMORY_HEADERS = {
    "variant": "Variant", "weights": "Weights (file)", "kv": "KV cache (calculated)", "rest": "Rest",
    "opened": "After opening", "peak": "Peak",
}  # fmt: skip
MEMORY_QUANTITIES = ("weights", "kv", "rest", "opened", "peak")
_UNSPLIT_REASON = "not measured apart"


def memory_frame(local: LocalSection) -> pd.DataFrame:
    """Return the table of the memory of language models. The rest is n/a where the parts of the
    peak are unknown."""
    parts_by_variant = {row.variant.name: row.parts_gib for row in list_memory(local)}
    rows = []
    for variant in local.variants:
        if not variant.is_measured:
            continue
        parts_gib = parts_by_variant.get(variant.name)
        size_gib = None if variant.size_bytes is None else variant.size_bytes / BYTES_PER_GIB
        rows.append(
            {"variant": variant.name, "weights": Quantity(size_gib, "GiB", reason=_UNSPLIT_REASON),
             "kv": variant.kv_cache or Quantity(None, "GiB", reason=_UNSPLIT_REASON),
             "rest": Quantity(None if parts_gib is None else parts_gib[2], "GiB", reason=_UNSPLIT_REASON),
             "opened": variant.opened_memory or Quantity(None, "GiB", reason="not measured"),
             "peak": variant.peak_memory}
        )  # fmt: skip
    return _frame(rows, [*MEMORY_HEADERS])


def list_cold_starts(local: LocalSection) -> list[tuple[str, ColdStartRow]]:
    """Return the cold starts of all variants, with a name that says whether the optimized model was
    cached where both kinds were measured."""
    return [
        (f"{variant.name}{', cached' if row.is_cached else ''}", row)
        for variant in local.variants
        for row in variant.cold_starts
    ]


def cold_start_frame(local: LocalSection) -> pd.DataFrame:
    """Return the table of the parts of cold starts: the median, with the maximum in parentheses."""
    rows = [
        {"Variant": name, "Starts": row.starts}
        | {
            capitalize_header(part_name): f"{formatting.format_value_unit(p50)} (max {formatting.format_value(worst)})"
            for part_name, p50, worst in zip(local.cold_parts, row.p50, row.worst, strict=False)
        }
        for name, row in list_cold_starts(local)
    ]
    return _frame(rows, ["Variant", "Starts", *map(capitalize_header, local.cold_parts)])


QUALITY_HEADERS = {
    "variant": "Variant", "tokens": "Tokens", "perplexity": "Perplexity", "ratio": "Ratio to the reference",
    "agreement": "Token agreement", "divergence": "KL divergence",
}  # fmt: skip
QUALITY_QUANTITIES = ("perplexity", "ratio", "agreement", "divergence")


def quality_frame(local: LocalSection) -> pd.DataFrame:
    """Return the table of the quality of the predictions of language models. The reference has no
    comparison with itself."""
    return _frame(
        [
            {"variant": variant.name, "tokens": quality.tokens, "perplexity": quality.perplexity,
             "ratio": quality.ratio or "reference", "agreement": quality.agreement or "–",
             "divergence": quality.divergence or "–"}
            for variant in local.variants
            if (quality := variant.text_quality) is not None
        ],
        [*QUALITY_HEADERS],
    )  # fmt: skip


def offer_frame(plan: PlanSection) -> pd.DataFrame:
    return _frame(
        [
            {"offer": row.offer, "instances": row.instances, "usd_per_month": _drop_interval(row.usd_per_month),
             "cost_range": format_cost_range(row) or formatting.NOT_AVAILABLE,
             "usd_per_1k": row.usd_per_1k, "latency": row.latency, "utilization": row.utilization_at_peak,
             "basis": row.basis, "risk": row.risk, "price": format_clock_time(row.price_date)}
            for row in plan.offers
        ],
        ("offer", "instances", "usd_per_month", "cost_range", "usd_per_1k", "latency", "utilization", "basis", "risk",
         "price"),
    )  # fmt: skip


def _drop_interval(quantity: Quantity) -> Quantity:
    """Return a quantity without its interval, for tables in which other columns matter more: the
    range of a monthly cost, or the same quantity as the client measured it."""
    return msgspec.structs.replace(quantity, ci95=None)


def _format_time(time_s: float | None) -> str:
    return formatting.NOT_AVAILABLE if time_s is None else format_duration(max(0.0, time_s))


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Build a DataFrame with object dtype, so that Quantity values are preserved. Integer-only
    columns become int64."""
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    integer_columns = [name for name in columns if rows and all(isinstance(row.get(name), int) for row in rows)]
    return frame.astype(dict.fromkeys(integer_columns, "int64"))
