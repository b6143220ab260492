"""Tables of a report as CSV for spreadsheets and scripts: numbers are unformatted, missing values
are empty cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from reports.local_model import LocalSection
from reports.model import LoadSeries, PlanSection, Report, StageRow
from reports.quantity import Quantity

_Cell = str | float | int | bool | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def build_tables(report: Report) -> dict[str, str]:
    """Build the non-empty CSV tables of a report. Returns CSV text by table name."""
    tables = {}
    if report.local is not None:
        tables["variants"] = _variants(report.local)
    if report.stages:
        tables["stages"] = _stages(report.stages)
    if report.load is not None:
        tables["timeline"] = _timeline(report.load)
    if report.plan is not None:
        tables |= plan_tables(report.plan)
    return tables


def plan_tables(plan: PlanSection) -> dict[str, str]:
    rows = [*plan.offers, *plan.rejected_offers]
    return {"offers": _offers(plan)} if rows else {}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> str:
    """Write CSV that is safe to open in a spreadsheet: a string that a spreadsheet would execute as
    a formula is prefixed with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe_cell(cell) for cell in row] for row in rows)
    return out.getvalue()


def _safe_cell(cell: _Cell) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        text = cell.replace("\0", "")
        return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
    return cell


def _with_interval(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _with_ci(quantity: Quantity | None) -> tuple[float | None, float | None, float | None]:
    if quantity is None or quantity.value is None:
        return None, None, None
    return quantity.value, *(quantity.ci95 or (None, None))


def _stages(stages: Sequence[StageRow]) -> str:
    columns = (
        "stage", "kind", "repeat", "start_s", "end_s", "arrivals", "clients", "scheduled_per_s",
        *_with_interval("offered_per_s"), *_with_interval("achieved_per_s"), *_with_interval("good_per_s"),
        *_with_interval("answered_per_s"), "completed", "failed", *_with_interval("p50_ms"), *_with_interval("p95_ms"),
        *_with_interval("p99_ms"), "validity", "meets_slo", "pooled",
    )  # fmt: skip
    rows = (
        (
            stage.name, stage.kind, stage.repeat, stage.start_s, stage.end_s, stage.arrivals, stage.clients,
            stage.scheduled_per_s, *_with_ci(stage.offered), *_with_ci(stage.achieved), *_with_ci(stage.good),
            *_with_ci(stage.responses), stage.completed, stage.failed, *_with_ci(stage.p50), *_with_ci(stage.p95),
            *_with_ci(stage.p99), stage.validity, stage.meets_slo, stage.pooled,
        )
        for stage in stages
    )  # fmt: skip
    return csv_text(columns, rows)


def _timeline(load: LoadSeries) -> str:
    series: dict[str, Sequence[float | None]] = {
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
    columns = {name: values for name, values in series.items() if values}
    return csv_text(("at_s", *columns), zip(load.at_s, *columns.values(), strict=True))


def _variants(local: LocalSection) -> str:
    columns = (
        "variant", "model", "provider", "precision", "batch", "streams", "threads", "state", "slo", "stage", "scenario",
        "times", *_with_interval("p50_ms"), *_with_interval("p95_ms"), *_with_interval("p99_ms"),
        *_with_interval("throughput_per_s"), "calls", "validity",
    )  # fmt: skip
    rows = (
        (
            variant.name, variant.model, variant.provider, variant.precision, variant.batch, variant.streams,
            variant.threads, variant.state, variant.slo,
            stage.stage, stage.scenario, stage.times, *_with_ci(stage.p50), *_with_ci(stage.p95), *_with_ci(stage.p99),
            *_with_ci(stage.throughput), stage.calls, stage.validity,
        )
        for variant in local.variants
        for stage in variant.scenarios
    )  # fmt: skip
    return csv_text(columns, rows)


def _offers(plan: PlanSection) -> str:
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
    return csv_text(columns, rows)
