"""Render the numbers of a report as OpenMetrics text, for GitLab metrics reports and the Prometheus
textfile collector.

All metrics are gauges, so that parsers of the Prometheus text format accept them too. A value that
is not available has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec

from reports.formatting import sanitize
from reports.model import Evaluation, ObjectiveRow, Outcome, Quantity, Report, StageRow, TokenRow, Validity

Labels = dict[str, str]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_SUFFIXES = ("", "_ci95_low", "_ci95_high")


class _Sample(msgspec.Struct, frozen=True):
    family: str
    about: str
    labels: Labels
    value: float | None


def render_openmetrics(report: Report) -> str:
    """Render a report as OpenMetrics text, which ends with `# EOF`. If several samples have the
    same name and labels, the first sample is used."""
    families: dict[str, tuple[str, dict[str, float]]] = {}
    for sample in _samples(sanitize(report)):
        if sample.value is not None:
            samples = families.setdefault(sample.family, (sample.about, {}))[1]
            samples.setdefault(_labels(sample.labels), sample.value)
    lines = [line for name, (about, samples) in families.items() for line in _family(name, about, samples)]
    return "\n".join([*lines, "# EOF\n"])


def _family(name: str, about: str, samples: dict[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} gauge"
    yield from (f"{name}{labels} {value!r}" for labels, value in samples.items())


def _labels(labels: Labels) -> str:
    joined = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{joined}}}" if joined else ""


def _samples(report: Report) -> Iterator[_Sample]:
    header, verdict = report.header, report.verdict
    run_labels = {
        "run_id": header.run_id,
        "profile": header.title,
        "profile_hash": header.profile_hash,
        "tool": header.tool,
    }
    if report.hidden:
        run_labels["hidden"] = ",".join(report.hidden)
    yield _Sample("sizewise_run_info", "Metadata of the run", run_labels, 1)
    yield from _states("sizewise_verdict", "Outcome of the run", {}, verdict.outcome, get_args(Outcome))
    yield _Sample("sizewise_exit_code", "Exit code of the command", {}, verdict.exit_code)
    yield _Sample("sizewise_duration_seconds", "Duration of the run", {}, header.duration_s)
    if report.max_rate is not None:
        about = "Highest rate within the SLO"
        yield from _quantity("sizewise_max_rate_per_second", about, {}, report.max_rate.per_s)
    for tile in report.tiles:
        labels = {"name": tile.label, "unit": tile.quantity.unit}
        yield from _quantity("sizewise_headline", "Headline metrics", labels, tile.quantity)
    for row in report.objectives:
        yield from _objective(row)
    for check in report.checks:
        yield from _states(
            "sizewise_check", "Result of a validity check", {"check": check.name}, check.verdict, get_args(Validity)
        )
    for stage in report.stages:
        yield from _stage(stage)
    for tokens in report.tokens:
        yield from _tokens(tokens)


def _states(family: str, about: str, labels: Labels, current: str, states: tuple[str, ...]) -> Iterator[_Sample]:
    """Yield a sample for each possible state: 1 for the current state, 0 for all other states."""
    return (_Sample(family, about, labels | {"state": state}, int(state == current)) for state in states)


def _quantity(family: str, about: str, labels: Labels, quantity: Quantity) -> Iterator[_Sample]:
    """Yield samples for a value and, if available, for the bounds of its 95 % interval."""
    values = (quantity.value, *(quantity.ci95 or (None, None)))
    for suffix, value in zip(_SUFFIXES, values, strict=True):
        yield _Sample(family + suffix, about + (", bound of the 95 % CI" if suffix else ""), labels, value)


def _objective(row: ObjectiveRow) -> Iterator[_Sample]:
    labels = {"objective": row.text, "kind": row.kind, "level": row.level, "unit": row.observed.unit}
    yield from _quantity("sizewise_objective_observed", "Observed value of an objective", labels, row.observed)
    yield _Sample("sizewise_objective_limit", "Limit of an objective", labels, row.limit.value)
    yield from _states("sizewise_objective", "Result of an objective", labels, row.outcome, get_args(Evaluation))


def _stage(row: StageRow) -> Iterator[_Sample]:
    labels = {"stage": row.name, "kind": row.kind, "repeat": str(row.repeat)}
    rates = {"offered": row.offered, "achieved": row.achieved, "good": row.good}
    for name, quantity in rates.items():
        yield from _quantity(f"sizewise_stage_{name}_per_second", f"{name} requests", labels, quantity)
    yield _Sample("sizewise_stage_completed", "Successful requests", labels, row.completed)
    yield _Sample("sizewise_stage_failed", "Failed requests", labels, row.failed)
    yield from _percentiles("latency", labels, {"p50": row.p50, "p95": row.p95, "p99": row.p99})


def _tokens(row: TokenRow) -> Iterator[_Sample]:
    labels = {"stage": row.stage}
    yield from _percentiles("ttft", labels, {"p50": row.ttft_p50, "p95": row.ttft_p95, "p99": row.ttft_p99})
    yield from _percentiles("tpot", labels, {"p50": row.tpot_p50, "p95": row.tpot_p95})
    yield from _percentiles("itl", labels, {"p50": row.itl_p50, "p99": row.itl_p99})
    yield from _quantity("sizewise_stage_output_tokens_per_second", "output tokens", labels, row.tokens_per_s)


def _percentiles(metric_name: str, labels: Labels, by_percentile: dict[str, Quantity]) -> Iterator[_Sample]:
    for name, quantity in by_percentile.items():
        about = f"{metric_name}, by percentile"
        yield from _quantity(
            f"sizewise_stage_{metric_name}_milliseconds", about, labels | {"percentile": name}, quantity
        )
