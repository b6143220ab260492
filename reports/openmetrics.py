"""Render the numbers of a report as OpenMetrics text, for GitLab metrics reports and the
Prometheus textfile collector.

All metrics are gauges, so that parsers of the Prometheus text format accept them too. A missing
value has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from reports.formatting import format_stage_name, sanitize
from reports.model import (
    ClassRow,
    Evaluation,
    ObjectiveRow,
    Outcome,
    Quantity,
    Report,
    StageRow,
    TokenRow,
    Validity,
)

Labels = dict[str, str]
_Scope = Literal["stage", "class"]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_SUFFIXES = ("", "_ci95_low", "_ci95_high")
_METRIC_TEXTS = {"latency": "Latency", "ttft": "Time to first token", "tpot": "Time per output token",
                 "itl": "Inter-token latency"}  # fmt: skip


class _Sample(msgspec.Struct, frozen=True):
    family: str
    help_text: str
    labels: Labels
    value: float | None


def render_openmetrics(report: Report) -> str:
    """Render a report as OpenMetrics text, which ends with `# EOF`. If several samples have the
    same name and labels, only the first is written."""
    families: dict[str, tuple[str, dict[str, float]]] = {}
    for sample in _list_samples(sanitize(report)):
        if sample.value is not None:
            samples = families.setdefault(sample.family, (sample.help_text, {}))[1]
            samples.setdefault(_format_labels(sample.labels), sample.value)
    lines = [
        line for name, (help_text, samples) in families.items() for line in _format_family(name, help_text, samples)
    ]
    return "\n".join([*lines, "# EOF\n"])


def _format_family(name: str, help_text: str, samples: dict[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} gauge"
    yield from (f"{name}{labels} {value!r}" for labels, value in samples.items())


def _format_labels(labels: Labels) -> str:
    labels_text = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{labels_text}}}" if labels_text else ""


def _list_samples(report: Report) -> Iterator[_Sample]:
    header, verdict = report.header, report.verdict
    run_labels = {
        "run_id": header.run_id,
        "profile": header.title,
        "profile_hash": header.profile_hash,
        "tool": header.tool,
    }
    if report.redacted:
        run_labels["redacted"] = ",".join(report.redacted)
    yield _Sample("sizewise_run_info", "Metadata of the run", run_labels, 1)
    yield from _list_state_samples("sizewise_verdict", "Outcome of the run", {}, verdict.outcome, get_args(Outcome))
    yield _Sample("sizewise_exit_code", "Exit code of the command", {}, verdict.exit_code)
    yield _Sample("sizewise_duration_seconds", "Duration of the run", {}, header.duration_s)
    if report.max_rate is not None:
        help_text = "Highest rate within the SLO"
        yield from _list_quantity_samples("sizewise_max_rate_per_second", help_text, {}, report.max_rate.per_s)
        if report.max_rate.per_s.value is not None:
            help_text = "1 if the max rate is only a lower bound and may be higher, otherwise 0"
            yield _Sample("sizewise_max_rate_is_lower_bound", help_text, {}, int(report.max_rate.is_lower_bound))
    for tile in report.tiles:
        labels = {"name": tile.label, "unit": tile.quantity.unit}
        yield from _list_quantity_samples("sizewise_headline", "Headline metrics", labels, tile.quantity)
    for row in report.objectives:
        yield from _list_objective_samples(row)
    for check in report.checks:
        yield from _list_state_samples(
            "sizewise_check", "Result of a validity check", {"check": check.id}, check.verdict, get_args(Validity)
        )
    for stage in report.stages:
        yield from _list_stage_samples(stage)
    labels_by_stage = {
        format_stage_name(stage.name, stage.repeat): _build_stage_labels(stage) for stage in report.stages
    }
    for token_row in report.tokens:
        stage_labels = labels_by_stage.get(token_row.stage, {"stage": token_row.stage})
        yield from _list_token_samples(stage_labels, token_row, token_row.tokens_per_s)
    for class_row in report.classes.rows if report.classes else ():
        stage_labels = labels_by_stage.get(class_row.stage, {"stage": class_row.stage})
        yield from _list_class_samples(stage_labels, class_row)


def _list_state_samples(
    family: str, help_text: str, labels: Labels, current_state: str, states: tuple[str, ...]
) -> Iterator[_Sample]:
    """Yield one sample for each possible state: 1 for the current state, 0 for all other states."""
    return (_Sample(family, help_text, labels | {"state": state}, int(state == current_state)) for state in states)


def _list_quantity_samples(family: str, help_text: str, labels: Labels, quantity: Quantity) -> Iterator[_Sample]:
    """Yield a sample for a value and, if available, samples for the bounds of its 95 % confidence
    interval."""
    values = (quantity.value, *(quantity.ci95 or (None, None)))
    for suffix, value in zip(_SUFFIXES, values, strict=True):
        yield _Sample(family + suffix, help_text + (", bound of the 95 % CI" if suffix else ""), labels, value)


def _list_objective_samples(row: ObjectiveRow) -> Iterator[_Sample]:
    labels = {"objective": row.text, "kind": row.kind, "level": row.level, "unit": row.observed.unit}
    yield from _list_quantity_samples(
        "sizewise_objective_observed", "Observed value of an objective", labels, row.observed
    )
    yield _Sample("sizewise_objective_limit", "Limit of an objective", labels, row.limit.value)
    yield from _list_state_samples(
        "sizewise_objective", "Result of an objective", labels, row.outcome, get_args(Evaluation)
    )


def _build_stage_labels(row: StageRow) -> Labels:
    return {"stage": row.name, "kind": row.kind, "repeat": str(row.repeat)}


def _list_stage_samples(row: StageRow) -> Iterator[_Sample]:
    labels = _build_stage_labels(row)
    rates = (
        ("offered", "Rate of offered requests", row.offered),
        ("achieved", "Rate of sent requests", row.achieved),
        ("good", "Rate of requests within the SLO", row.good),
    )
    for name, help_text, quantity in rates:
        yield from _list_quantity_samples(f"sizewise_stage_{name}_per_second", help_text, labels, quantity)
    yield _Sample("sizewise_stage_completed", "Successful requests", labels, row.completed)
    yield _Sample("sizewise_stage_failed", "Failed requests", labels, row.failed)
    yield from _list_percentile_samples("latency", labels, {"p50": row.p50, "p95": row.p95, "p99": row.p99})


def _list_token_samples(
    labels: Labels, row: TokenRow | ClassRow, tokens_per_s: Quantity, scope: _Scope = "stage"
) -> Iterator[_Sample]:
    ttft = {"p50": row.ttft_p50, "p95": row.ttft_p95, "p99": row.ttft_p99}
    yield from _list_percentile_samples("ttft", labels, ttft, scope)
    yield from _list_percentile_samples("tpot", labels, {"p50": row.tpot_p50, "p95": row.tpot_p95}, scope)
    yield from _list_percentile_samples("itl", labels, {"p50": row.itl_p50, "p99": row.itl_p99}, scope)
    yield from _list_quantity_samples(
        f"sizewise_{scope}_output_tokens_per_second", "Rate of output tokens", labels, tokens_per_s
    )


def _list_class_samples(stage_labels: Labels, row: ClassRow) -> Iterator[_Sample]:
    """Yield the samples of a class of requests in a stage. They have families of their own, so that
    a sum over a family of stages counts no request twice."""
    labels = {**stage_labels, "class": row.name}
    yield _Sample("sizewise_class_requests", "Scheduled requests of a class", labels, row.requests)
    yield _Sample("sizewise_class_failed", "Failed requests of a class", labels, row.failed)
    rates = (
        ("completed_per_second", "Rate of successful requests of a class", row.throughput),
        ("goodput_share", "Share of the requests of a class within their SLO", row.goodput),
    )
    for name, help_text, quantity in rates:
        yield from _list_quantity_samples(f"sizewise_class_{name}", help_text, labels, quantity)
    latency = {"p50": row.latency_p50, "p95": row.latency_p95, "p99": row.latency_p99}
    yield from _list_percentile_samples("latency", labels, latency, "class")
    yield from _list_token_samples(labels, row, row.output_tokens_per_s, "class")


def _list_percentile_samples(
    metric_name: str, labels: Labels, quantities_by_percentile: dict[str, Quantity], scope: _Scope = "stage"
) -> Iterator[_Sample]:
    for name, quantity in quantities_by_percentile.items():
        help_text = f"{_METRIC_TEXTS[metric_name]} by percentile"
        yield from _list_quantity_samples(
            f"sizewise_{scope}_{metric_name}_milliseconds", help_text, labels | {"percentile": name}, quantity
        )
