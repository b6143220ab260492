"""Tables of a report as DataFrames. Numbers remain Quantity values and are formatted as in the
report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pandas as pd

from app.gui.formatting import format_clock_time, format_duration
from app.records.breakdown import PART_NAMES
from app.records.metrics import metric_label
from reports import formatting
from reports.generation_series import BYTES_PER_GIB, list_memory
from reports.local_model import BottleneckRow, ColdStartRow, LocalSection, VariantRow
from reports.local_text import list_bottlenecks
from reports.model import (
    BatchRow,
    BreakdownSection,
    CheckRow,
    ClassRow,
    EnvironmentEntry,
    ErrorRow,
    GroupTable,
    KneeSection,
    LiveSessionRow,
    MediaRow,
    MessageRow,
    NamedQuantity,
    PlanSection,
    Report,
    ServerRow,
    SpikeSummary,
    StageRow,
    SteadyRow,
    TokenRow,
    WorkerRow,
)
from reports.plan_section import ShapePlanSection
from reports.plan_sentences import SHAPE_COLUMNS, build_shape_cells, format_cost_range
from reports.quantity import Quantity

STAGE_QUANTITIES = ("offered", "achieved", "throughput", "good", "p50", "p95", "p99")
TOKEN_QUANTITIES = (
    "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p50", "tpot_p95", "itl_p50", "itl_p99", "icl_p99", "coalesced",
    "output_tokens", "tokens_per_s",
)  # fmt: skip
VARIANT_QUANTITIES = ("p50", "p95", "p99", "throughput", "cost")
OFFER_QUANTITIES = ("usd_per_month", "usd_per_1k", "latency", "utilization")
BATCH_QUANTITIES = ("p50", "p95", "p99", "throughput")


def stage_headers(report: Report) -> dict[str, str]:
    return {
        "stage": "Stage", "result": "Result", "load": "Load", "offered": "Offered",
        "achieved": "Sent", "throughput": "Throughput", "good": "Goodput", "completed": "Responses",
        "failed": "Failed", **{name: metric_label(report.times, name) for name in ("p50", "p95", "p99")},
        "from": "Start", "measurement": "Validity",
    }  # fmt: skip


def stage_frame(stages: Sequence[StageRow]) -> pd.DataFrame:
    return _frame(
        [
            {
                "stage": stage_name(row), "result": stage_result(row), "load": load_text(row),
                "good": row.good, "p50": row.p50, "p95": row.p95, "p99": row.p99, "completed": row.completed,
                "failed": row.failed, "offered": row.offered, "achieved": row.achieved, "throughput": row.throughput,
                "from": format_duration(max(0.0, row.start_s)), "measurement": row.validity,
            }
            for row in stages
        ],
        ("stage", "result", "load", "good", "p50", "p95", "p99", "completed", "failed", "offered", "achieved",
         "throughput", "from", "measurement"),
    )  # fmt: skip


def stage_result(row: StageRow) -> str:
    """Return the outcome of a stage, such as `SLO met`."""
    return formatting.display_state(formatting.find_stage_state(row))


def stage_name(row: StageRow) -> str:
    return formatting.format_stage_name(row.name, row.repeat)


def load_text(row: StageRow) -> str:
    if row.clients is not None:
        return f"{formatting.format_count(row.clients)} clients"
    if row.scheduled_per_s is not None:
        return f"{formatting.format_number(row.scheduled_per_s)} req/s"
    return row.arrivals or formatting.NOT_AVAILABLE


def invalid_rows(stages: Sequence[StageRow]) -> tuple[int, ...]:
    return tuple(row_index for row_index, row in enumerate(stages) if row.validity == "INVALID")


def reasons_by_row(stages: Sequence[StageRow]) -> dict[int, str]:
    return {
        row_index: f"{row.validity}: {'; '.join(row.reasons)}" for row_index, row in enumerate(stages) if row.reasons
    }


def token_headers() -> dict[str, str]:
    titles = {}
    for name in TOKEN_QUANTITIES:
        metric, _, percentile = name.partition("_")
        titles[name] = f"{percentile} {metric.upper()}"
    return {
        "stage": "Stage", **titles, "coalesced": "Coalesced chunks", "output_tokens": "Tokens per response",
        "tokens_per_s": "Token throughput (tok/s)",
    }  # fmt: skip


def token_frame(rows: Sequence[TokenRow]) -> pd.DataFrame:
    columns = ("stage", *TOKEN_QUANTITIES)
    return _frame([{name: getattr(row, name) for name in columns} for row in rows], columns)


BREAKDOWN_TITLE = "Parts of the latency in ms: mean of all requests, and of the requests around each percentile"
BREAKDOWN_QUANTITIES = (*PART_NAMES.values(), "unknown", "ttft", "latency")
BREAKDOWN_HEADERS = {
    "of": "Latency", "requests": "Requests", **{name: name[:1].upper() + name[1:] for name in PART_NAMES.values()},
    "unknown": "Unknown", "ttft": "TTFT", "latency": "Total",
}  # fmt: skip


def breakdown_frame(section: BreakdownSection) -> pd.DataFrame:
    """Return the table of the parts of the latency of a stage."""
    rows = [
        {"of": row.aggregate, "requests": row.requests, **{part.name: part.quantity for part in row.parts},
         "unknown": row.unknown, "ttft": row.ttft, "latency": row.latency}
        for row in section.rows
    ]  # fmt: skip
    return _frame(rows, [*rows[0]])


SERVER_HEADERS = {
    "stage": "Stage", "queue": "Queue", "prefill": "Prefill", "decode": "Decode",
    "ttft": "Server TTFT", "client_ttft": "Client TTFT", "itl": "Server ITL", "client_itl": "Client ITL",
    "e2e": "Server E2E", "client_e2e": "Client E2E",
}  # fmt: skip
SERVER_QUANTITIES = tuple(SERVER_HEADERS)[1:]
COUNTER_HEADERS = {
    "stage": "Stage", "requests": "Requests", "cached": "Cached input", "preemptions": "Preemptions",
}  # fmt: skip
COUNTER_QUANTITIES = tuple(COUNTER_HEADERS)[1:]


def server_frame(rows: Sequence[ServerRow]) -> pd.DataFrame:
    """Return the table of the latencies that the target's servers counted, beside the client's.
    Columns without any value are omitted."""
    return _quantity_frame(rows, SERVER_QUANTITIES)


def counter_frame(rows: Sequence[ServerRow]) -> pd.DataFrame:
    """Return the table of what else the target's servers counted. Columns without any value are
    omitted."""
    return _quantity_frame(rows, COUNTER_QUANTITIES)


STEADY_HEADERS = {
    "stage": "Stage", "range": "Steady state", "throughput": "Throughput", "steady_throughput": "Of it steady",
    "p50": "p50", "steady_p50": "Of it steady", "p95": "p95", "steady_p95": "Of it steady",
}  # fmt: skip
STEADY_QUANTITIES = tuple(STEADY_HEADERS)[2:]


def steady_frame(rows: Sequence[SteadyRow]) -> pd.DataFrame:
    """Return the table of the steady state of stages, beside the whole stage."""
    frame = _quantity_frame(rows, STEADY_QUANTITIES)
    ranges = [f"{format_duration(row.start_s)} to {format_duration(row.end_s)}" for row in rows]
    frame.insert(1, "range", pd.Series(ranges, dtype=object))
    return frame


MEDIA_QUANTITIES = tuple(formatting.MEDIA_HEADERS)
MEDIA_HEADERS = {"stage": "Stage"} | formatting.MEDIA_HEADERS


def media_frame(rows: Sequence[MediaRow]) -> pd.DataFrame:
    """Return the table of audio and images by stage, without the columns that have no value."""
    return _quantity_frame(rows, MEDIA_QUANTITIES)


SESSION_HEADERS = {
    "stage": "Stage", "built": "Built requests", "build_mean": "Mean time", "build_max": "Maximum time",
}  # fmt: skip
SESSION_QUANTITIES = ("build_mean", "build_max")


def session_frame(rows: Sequence[LiveSessionRow]) -> pd.DataFrame:
    """Return the table of sessions with the server's own responses."""
    return _frame(
        [
            {"stage": row.stage, **{_capitalize(name): count for name, count in row.outcomes.items()},
             "built": row.built_requests, "build_mean": row.build_mean, "build_max": row.build_max}
            for row in rows
        ],
        ["stage", *map(_capitalize, rows[0].outcomes), "built", "build_mean", "build_max"],
    )  # fmt: skip


CLASS_HEADERS = {
    "name": "Class", "stage": "Stage", "slo": "SLO", "share": "Share", "weight": "Weight", "requests": "Requests",
    "failed": "Failed", "error_rate": "Error rate", "goodput": "Goodput", "ttft_p50": "p50 TTFT",
    "ttft_p95": "p95 TTFT", "ttft_p99": "p99 TTFT", "tpot_p50": "p50 TPOT", "tpot_p95": "p95 TPOT",
    "itl_p50": "p50 ITL", "itl_p99": "p99 ITL", "latency_p50": "p50 latency", "latency_p95": "p95 latency",
    "latency_p99": "p99 latency", "throughput": "Throughput", "output_tokens_per_s": "Output throughput",
    "cached": "Cached input",
}  # fmt: skip
_CLASS_TEXTS = ("name", "stage", "slo", "weight", "requests", "failed")
_CLASS_TOKEN_QUANTITIES = (
    "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p50", "tpot_p95", "itl_p50", "itl_p99", "output_tokens_per_s", "cached",
)  # fmt: skip
CLASS_QUANTITIES = tuple(name for name in CLASS_HEADERS if name not in _CLASS_TEXTS)


def class_frame(rows: Sequence[ClassRow], first_column: Literal["name", "stage"], *, has_tokens: bool) -> pd.DataFrame:
    """Return the table of classes of requests, with one row per class or per stage."""
    names = [name for name in CLASS_QUANTITIES if has_tokens or name not in _CLASS_TOKEN_QUANTITIES]
    columns = [name for name in CLASS_HEADERS if name in (first_column, *_CLASS_TEXTS[2:], *names)]
    return _frame(
        [
            {first_column: getattr(row, first_column), "slo": formatting.format_class_state(row),
             "weight": formatting.format_percent(row.weight_share), "requests": row.requests, "failed": row.failed,
             **{name: _drop_interval(getattr(row, name)) for name in names}}
            for row in rows
        ],
        columns,
    )  # fmt: skip


MESSAGE_HEADERS = {
    "stage": "Stage", "per_s": "Throughput", "per_response": "Per response", "first_p50": "p50 first message",
    "first_p95": "p95 first message", "first_p99": "p99 first message", "gap_p50": "p50 gap", "gap_p95": "p95 gap",
    "gap_p99": "p99 gap",
}  # fmt: skip
MESSAGE_QUANTITIES = tuple(MESSAGE_HEADERS)[1:]


def message_frame(rows: Sequence[MessageRow]) -> pd.DataFrame:
    """Return the table of the streams of messages, without the columns that have no value."""
    return _quantity_frame(rows, MESSAGE_QUANTITIES)


REUSE_HEADERS = {"part": "Part", "share": "Share of the prompt tokens"}
REUSE_QUANTITIES = ("share",)


def reuse_frame(rows: Sequence[NamedQuantity]) -> pd.DataFrame:
    """Return the table of what a prefix cache can serve, and what the server's cache served."""
    return _frame([{"part": _capitalize(row.name), "share": row.quantity} for row in rows], [*REUSE_HEADERS])


def _quantity_frame(
    rows: Sequence[ServerRow | SteadyRow | MediaRow | MessageRow], names: Sequence[str]
) -> pd.DataFrame:
    """Return a table of quantities by stage, without the columns that have no value."""
    shown_names = [name for name in names if any(_has_value(getattr(row, name)) for row in rows)]
    return _frame(
        [{"stage": row.stage, **{name: _drop_interval(getattr(row, name)) for name in shown_names}} for row in rows],
        ["stage", *shown_names],
    )


def _has_value(quantity: Quantity) -> bool:
    return quantity.value is not None or quantity.is_undersampled


def error_frame(rows: Sequence[ErrorRow]) -> pd.DataFrame:
    return _frame(
        [
            {"error": row.error, "count": row.count, "share": row.share, "first": _format_time(row.first_s),
             "last": _format_time(row.last_s), "sample": row.sample or ""}
            for row in rows
        ],
        ("error", "count", "share", "first", "last", "sample"),
    )  # fmt: skip


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


def knee_frame(section: KneeSection) -> pd.DataFrame:
    return _frame(
        [{"name": row.name, "method": row.method, "at": row.at, "latency": row.latency} for row in section.rows],
        ("name", "method", "at", "latency"),
    )


def spike_frame(rows: Sequence[SpikeSummary]) -> pd.DataFrame:
    return _frame(
        [
            {"stage": row.stage, "jump": f"{formatting.format_number(row.baseline_per_s)} → "
             f"{formatting.format_number(row.peak_per_s)} req/s", "spike": format_duration(row.spike_s),
             "slo_violated": row.slo_violated,
             "backlog_peak": row.backlog_peak, "drained": row.drained}
            for row in rows
        ],
        ("stage", "jump", "spike", "slo_violated", "backlog_peak", "drained"),
    )  # fmt: skip


def group_frame(table: GroupTable) -> pd.DataFrame:
    return _frame(
        [
            {"label": row.label, "requests": row.requests, "share": formatting.format_percent(row.share),
             "failed": row.failed, "p50": row.p50, "p95": row.p95}
            for row in table.rows
        ],
        ("label", "requests", "share", "failed", "p50", "p95"),
    )  # fmt: skip


def worker_frame(rows: Sequence[WorkerRow]) -> pd.DataFrame:
    return _frame(
        [
            {"worker": f"{row.worker}", "host": row.host, "sent": row.sent, "cpu": row.cpu, "max_lag": row.max_lag,
             "clock": row.clock, "lost": _format_time(row.lost_s)}
            for row in rows
        ],
        ("worker", "host", "sent", "cpu", "max_lag", "clock", "lost"),
    )  # fmt: skip


def batch_frame(rows: Sequence[BatchRow]) -> pd.DataFrame:
    return _frame(
        [
            {"provider": row.provider, "precision": row.precision, "batch": row.batch, "p50": row.p50,
             "p95": row.p95, "p99": row.p99, "throughput": row.throughput}
            for row in rows
        ],
        ("provider", "precision", "batch", "p50", "p95", "p99", "throughput"),
    )  # fmt: skip


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
                 "test": formatting.format_stage_name(row.test, row.repeat), "repetitions": row.repetitions,
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
            _capitalize(part_name): f"{formatting.format_value_unit(p50)} (max {formatting.format_value(worst)})"
            for part_name, p50, worst in zip(local.cold_parts, row.p50, row.worst, strict=False)
        }
        for name, row in list_cold_starts(local)
    ]
    return _frame(rows, ["Variant", "Starts", *map(_capitalize, local.cold_parts)])


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


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


SHAPE_TITLES = ("Accelerator", "Instances", "Offer", "Cost ($/month)", "Basis")


def shape_frame(section: ShapePlanSection) -> pd.DataFrame:
    """Return the table of the cheapest fleet of each accelerator type, for a model that was not
    measured."""
    return _frame(
        [dict(zip(SHAPE_COLUMNS, build_shape_cells(row), strict=True)) for row in section.rows], SHAPE_COLUMNS
    )


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
