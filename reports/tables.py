"""Tables of a report as CSV, for spreadsheets and scripts: numbers as they are, an empty cell where there is none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from reports.local_model import LocalSection
from reports.model import LoadSeries, PlanSection, Report, StageRow
from reports.quantity import Quantity

_Cell = str | float | int | bool | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def tables_of(report: Report) -> dict[str, str]:
    """CSV by name; none without a row."""
    found = {}
    if report.local is not None:
        found["variants"] = _variants(report.local)
    if report.stages:
        found["stages"] = _stages(report.stages)
    if report.load is not None:
        found["timeline"] = _timeline(report.load)
    if report.plan is not None:
        found |= plan_tables(report.plan)
    return found


def plan_tables(plan: PlanSection) -> dict[str, str]:
    rows = [*plan.offers, *plan.refused]
    return {"offers": _offers(plan)} if rows else {}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> str:
    """No text in it is a formula to a spreadsheet: one that begins as such has an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return out.getvalue()


def _inert(cell: _Cell) -> str | float | int:
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


def _parts(one: Quantity | None) -> tuple[float | None, float | None, float | None]:
    if one is None or one.value is None:
        return None, None, None
    return one.value, *(one.ci95 or (None, None))


def _stages(stages: Sequence[StageRow]) -> str:
    columns = (
        "stage", "kind", "repeat", "start_s", "end_s", "arrivals", "clients", "scheduled_per_s",
        *_with_interval("offered_per_s"), *_with_interval("achieved_per_s"), *_with_interval("good_per_s"),
        *_with_interval("answered_per_s"), "completed", "failed", *_with_interval("p50_ms"), *_with_interval("p95_ms"),
        *_with_interval("p99_ms"), "trust", "held", "pooled",
    )  # fmt: skip
    rows = (
        (
            one.name, one.kind, one.repeat, one.start_s, one.end_s, one.arrivals, one.clients, one.scheduled_per_s,
            *_parts(one.offered), *_parts(one.achieved), *_parts(one.good), *_parts(one.answered), one.completed,
            one.failed, *_parts(one.p50), *_parts(one.p95), *_parts(one.p99), one.trust, one.held, one.pooled,
        )
        for one in stages
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
    known = {name: values for name, values in series.items() if values}
    return csv_text(("at_s", *known), zip(load.at_s, *known.values(), strict=True))


def _variants(local: LocalSection) -> str:
    columns = (
        "variant", "model", "provider", "precision", "batch", "streams", "threads", "state", "slo", "stage", "scenario",
        "times", *_with_interval("p50_ms"), *_with_interval("p95_ms"), *_with_interval("p99_ms"),
        *_with_interval("throughput_per_s"), "calls", "trust",
    )  # fmt: skip
    rows = (
        (
            one.name, one.model, one.provider, one.precision, one.batch, one.streams, one.threads, one.state, one.slo,
            row.stage, row.scenario, row.times, *_parts(row.p50), *_parts(row.p95), *_parts(row.p99),
            *_parts(row.throughput), row.calls, row.trust,
        )
        for one in local.variants
        for row in one.scenarios
    )  # fmt: skip
    return csv_text(columns, rows)


def _offers(plan: PlanSection) -> str:
    columns = (
        "offer", "basis", "instances", "usd_per_month", "usd_per_1k", "latency_at_peak_ms", "utilisation_at_peak",
        "usd_per_hour_each", "price_kind", "price_date", "price_source", "risk", "refused",
    )  # fmt: skip
    rows = (
        (
            one.offer, one.basis, one.instances, one.usd_per_month.value, one.usd_per_1k.value, one.latency.value,
            one.utilisation.value, one.usd_per_hour_each, one.price_kind, one.price_date, one.price_source, one.risk,
            one.refused,
        )
        for one in (*plan.offers, *plan.refused)
    )  # fmt: skip
    return csv_text(columns, rows)
