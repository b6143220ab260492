"""Convert the estimates of a result to the quantities in a report."""

from __future__ import annotations

from app.analysis.objectives import get_unit as get_limit_unit
from app.records.metrics import METRICS
from app.records.result import Check, Estimate, Objective, Stage, Validity
from reports import model


def build_quantity(estimate: Estimate, unit: str, validity: Validity = "VALID") -> model.Quantity:
    return model.Quantity(
        value=estimate.value,
        unit=unit,
        ci95=estimate.ci95,
        n=estimate.n,
        basis=estimate.basis,
        reason=estimate.reason,
        validity=validity,
        undersampled=estimate.undersampled,
    )


def build_stage_quantity(stage: Stage, metric: str, aggregate: str = "value") -> model.Quantity:
    """Return a metric of a stage as a quantity with the validity of the stage. If the metric was
    not measured, the quantity has no value."""
    estimate = stage.metrics.get(metric, {}).get(aggregate) or Estimate(None, reason="not measured")
    return build_quantity(estimate, find_unit(metric), stage.verdict.status)


def find_unit(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else ""


def build_limit(objective: Objective) -> model.Limit:
    return model.Limit(comparator=objective.comparator, value=objective.limit, unit=get_limit_unit(objective))


def build_check_row(check: Check) -> model.CheckRow:
    return model.CheckRow(
        id=check.id,
        name=check.name,
        value=check.value,
        limit=check.limit,
        unit=check.unit,
        verdict=check.verdict,
        hint=check.hint,
    )
