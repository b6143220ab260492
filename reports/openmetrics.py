"""Render the numbers of a report as OpenMetrics text, for GitLab metrics reports and the
Prometheus textfile collector.

All metrics are gauges, so that parsers of the Prometheus text format accept them too. A missing
value has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, get_args

import msgspec

from reports.formatting import sanitize
from reports.model import Evaluation, ObjectiveRow, Outcome, Quantity, Report, Validity
from reports.sections.section import Column, Section

Labels = dict[str, str]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_SUFFIXES = ("", "_ci95_low", "_ci95_high")


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
    stage_labels = {row.stage: row.labels for row in report.stages}
    for section in report.sections:
        for table, groups in section.build_tables(report, "openmetrics"):
            for row in table.rows:
                yield from _list_row_samples(section, [*chain(*groups)], row, stage_labels)


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


def _list_row_samples(
    section: Section[Any], columns: Sequence[Column[Any]], row: Any, stage_labels: dict[str, Labels]
) -> Iterator[_Sample]:
    row_labels = section.build_gauge_labels(row, stage_labels)
    for column in columns:
        if (gauge := column.gauge) is None:
            continue
        labels = row_labels | ({"percentile": column.percentile} if column.percentile else {})
        family, help_text, cell = f"sizewise_{section.gauge_prefix}_{gauge[0]}", gauge[1], column.read_cell(row)
        if isinstance(cell, Quantity):
            yield from _list_quantity_samples(family, help_text, labels, cell)
        elif isinstance(cell, int | float):
            yield _Sample(family, help_text, labels, cell)
