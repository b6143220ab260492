"""The local model, as the stages that carry a variant."""

from __future__ import annotations

from app.records.result import Check, Result, Stage
from app.reporting.quantities import check_row, stage_quantity
from reports import model

_COLD_START = {
    "library_load_ms": "loading the inference library",
    "session_build_ms": "building the session",
    "first_inference_ms": "first inference",
}


def model_section(result: Result) -> model.ModelSection | None:
    stages = [stage for stage in result.stages if stage.variant is not None]
    if not stages or stages[0].variant is None:
        return None
    first = stages[0]
    accuracy = stage_quantity(first, "accuracy") if "accuracy" in first.metrics else None
    return model.ModelSection(
        name=stages[0].variant.model,
        batches=tuple(_batch_row(stage) for stage in stages),
        accuracy=accuracy,
        cold_start=tuple(
            model.Named(name=label, quantity=stage_quantity(first, metric))
            for metric, label in _COLD_START.items()
            if metric in first.metrics
        ),
        proof=tuple(check_row(check) for check in _distinct(stages)),
    )


def _batch_row(stage: Stage) -> model.BatchRow:
    assert stage.variant is not None
    return model.BatchRow(
        provider=stage.variant.provider,
        precision=stage.variant.precision,
        batch=stage.variant.batch,
        threads=stage.variant.threads,
        p50=stage_quantity(stage, "service_ms", "p50"),
        p95=stage_quantity(stage, "service_ms", "p95"),
        p99=stage_quantity(stage, "service_ms", "p99"),
        throughput=stage_quantity(stage, "throughput_per_s"),
    )


def _distinct(stages: list[Stage]) -> list[Check]:
    """Each variant carries the same proof; what is shown is every proof once."""
    return list(dict.fromkeys(check for stage in stages for check in stage.checks))
