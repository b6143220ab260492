"""Build the tables of a report as CSV for spreadsheets and scripts. Numbers are unformatted;
missing values are empty cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import chain

from reports.local_model import LocalSection
from reports.model import LoadSeries, PlanSection, Report
from reports.quantity import Quantity
from reports.sections.section import Cell, Column, RowT, Section, State, Table

_Cell = str | float | int | bool | None
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def build_tables(report: Report) -> dict[str, str]:
    """Build the non-empty tables of a report, as CSV text by table name."""
    tables = {}
    if report.local is not None:
        if report.local.is_language_model:
            tables["tests"] = _build_test_table(report.local)
        else:
            tables["variants"] = _build_variant_table(report.local)
    for section in report.sections:
        for table, groups in section.build_tables(report, "csv"):
            tables[section.name] = format_rows([*chain(*groups)], table.rows)
    if report.load is not None:
        tables["timeline"] = _build_timeline_table(report.load)
    if report.plan is not None:
        tables |= build_plan_tables(report.plan)
    return tables


def build_plan_tables(plan: PlanSection) -> dict[str, str]:
    rows = [*plan.offers, *plan.rejected_offers]
    return {"offers": _build_offer_table(plan)} if rows else {}


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> str:
    """Format rows as CSV that is safe to open in a spreadsheet. A string that a spreadsheet would
    execute as a formula is prefixed with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_escape_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _escape_cell(cell: _Cell) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        text = cell.replace("\0", "")
        return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_PREFIXES) else text
    return cell


def _list_columns(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _list_cells(quantity: Quantity | None) -> tuple[float | None, float | None, float | None]:
    if quantity is None or quantity.value is None:
        return None, None, None
    return quantity.value, *(quantity.ci95 or (None, None))


def build_section_table(section: Section[RowT], rows: Sequence[RowT]) -> str:
    """Build the table of some rows of a section."""
    return format_rows([*chain(*section.list_groups(Table(rows=rows), "csv"))], rows)


def format_rows(columns: Sequence[Column[RowT]], rows: Sequence[RowT]) -> str:
    """Format the cells of some rows as CSV. A quantity has a column for each bound of its interval, too."""
    cell_rows = [[_list_section_cells(column.read_cell(row)) for column in columns] for row in rows]
    names = [column.csv or column.key for column in columns]
    counts = map(len, cell_rows[0]) if cell_rows else [1] * len(names)
    headers = [_list_columns(name)[:count] for name, count in zip(names, counts, strict=True)]
    return format_csv([*chain(*headers)], [[*chain(*cells)] for cells in cell_rows])


def _list_section_cells(cell: Cell) -> tuple[_Cell, ...]:
    if isinstance(cell, Quantity):
        return _list_cells(cell)
    if isinstance(cell, State):
        return (cell.id,)
    assert cell is None or isinstance(cell, str | int | float), "CSV files have the data, not its display text"
    return (cell,)


def _build_timeline_table(load: LoadSeries) -> str:
    values_by_column: dict[str, Sequence[float | None]] = {
        "offered_per_s": load.offered_per_s,
        "sent_per_s": load.sent_per_s,
        "completed_per_s": load.completed_per_s,
        "good_per_s": load.good_per_s,
        "in_flight": load.in_flight,
        "p50_ms": load.p50_ms,
        "p95_ms": load.p95_ms,
        "ttft_p95_ms": load.ttft_p95_ms,
        "lag_p99_ms": load.lag_p99_ms,
    }
    columns = {name: values for name, values in values_by_column.items() if values}
    return format_csv(("at_s", *columns), zip(load.at_s, *columns.values(), strict=True))


def _build_variant_table(local: LocalSection) -> str:
    columns = (
        "variant", "model", "provider", "precision", "batch", "streams", "threads", "state", "slo", "stage", "scenario",
        "times", *_list_columns("p50_ms"), *_list_columns("p95_ms"), *_list_columns("p99_ms"),
        *_list_columns("throughput_per_s"), "calls", "validity",
    )  # fmt: skip
    rows = (
        (
            variant.name, variant.model, variant.provider, variant.precision, variant.batch, variant.streams,
            variant.threads, variant.state, variant.slo,
            stage.stage, stage.scenario, stage.times, *_list_cells(stage.p50), *_list_cells(stage.p95),
            *_list_cells(stage.p99), *_list_cells(stage.throughput), stage.calls, stage.validity,
        )
        for variant in local.variants
        for stage in variant.scenarios
    )  # fmt: skip
    return format_csv(columns, rows)


def _build_test_table(local: LocalSection) -> str:
    columns = (
        "variant", "model", "provider", "precision", "batch", "threads", "state", "slo", "test", "depth", "repeat",
        *_list_columns("prefill_tokens_per_s"), *_list_columns("decode_tokens_per_s"), *_list_columns("ttft_p50_ms"),
        *_list_columns("ttft_p99_ms"), *_list_columns("itl_p50_ms"), *_list_columns("itl_p99_ms"),
        *_list_columns("e2e_p50_ms"), "repetitions", "validity", "size_bytes", "opened_memory_gib", "peak_memory_gib",
        "computed_kv_cache_gib", "parameters",
    )  # fmt: skip
    rows = (
        (
            variant.name, variant.model, variant.provider, variant.precision, variant.batch, variant.threads,
            variant.state, variant.slo, row.test, row.depth, row.repeat, *_list_cells(row.prefill),
            *_list_cells(row.decode), *_list_cells(row.ttft_p50), *_list_cells(row.ttft_p99),
            *_list_cells(row.itl_p50), *_list_cells(row.itl_p99), *_list_cells(row.e2e), row.repetitions,
            row.validity, variant.size_bytes,
            None if variant.opened_memory is None else variant.opened_memory.value, variant.peak_memory.value,
            None if variant.kv_cache is None else variant.kv_cache.value, variant.parameters,
        )
        for variant in local.variants
        for row in variant.tests
    )  # fmt: skip
    return format_csv(columns, rows)


def _build_offer_table(plan: PlanSection) -> str:
    columns = (
        "offer", "basis", "instances", "usd_per_month", "usd_per_1k", "latency_at_peak_ms", "utilization_at_peak",
        "usd_per_hour_each", "price_kind", "price_date", "price_source", "risk", "rejected",
    )  # fmt: skip
    rows = (
        (
            offer.offer, offer.basis, offer.instances, offer.usd_per_month.value, offer.usd_per_1k.value,
            offer.latency.value, offer.utilization_at_peak.value, offer.usd_per_hour_each, offer.price_kind,
            offer.price_date, offer.price_source, offer.risk, offer.rejected,
        )
        for offer in (*plan.offers, *plan.rejected_offers)
    )  # fmt: skip
    return format_csv(columns, rows)
