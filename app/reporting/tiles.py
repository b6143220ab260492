"""The headline numbers of a loaded endpoint."""

from __future__ import annotations

from app.records.result import Result, Stage
from app.reporting.load import times_of
from app.reporting.quantities import limit_of, quantity, stage_quantity
from reports import formatting, model

_TOKENS = (("ttft_ms", "p95"), ("ttft_ms", "p99"), ("tpot_ms", "p95"))


def load_tiles(result: Result, stage: Stage) -> tuple[model.HeadlineTile, ...]:
    """What a user feels in the stage, and what it carries; of tokens too where answers have them."""
    times = times_of(result)
    found = [
        *([] if result.max_rate is not None and result.max_rate.per_s.value is not None else [_carried(stage)]),
        *(_time(result, stage, metric, aggregate) for metric, aggregate in _TOKENS if metric in stage.metrics),
        *(_time(result, stage, times, aggregate) for aggregate in ("p95", "p99")),
        *([_tile(result, stage, "Goodput", "goodput_share")] if _is_of_goodput(result) else []),
    ]
    if "output_tokens_per_s" in stage.metrics:
        found.append(_tile(result, stage, "Output tokens", "output_tokens_per_s"))
    if "accuracy" in stage.metrics:
        found.append(_tile(result, stage, "Accuracy", "accuracy"))
    return (*found, _tile(result, stage, "Error rate", "error_rate"))


def _carried(stage: Stage) -> model.HeadlineTile:
    note = f"in {stage.name}"
    if stage.kind == "closed":
        return model.HeadlineTile(label="Throughput", quantity=stage_quantity(stage, "completed_per_s"), note=note)
    return model.HeadlineTile(
        label="Good rate", quantity=quantity(stage.good_per_s, "1/s", stage.verdict.status), note=note
    )


def _is_of_goodput(result: Result) -> bool:
    return any(one.objective.metric == "goodput_share" for one in result.slo)


def _time(result: Result, stage: Stage, metric: str, aggregate: str) -> model.HeadlineTile:
    name = formatting.metric(metric)
    return _tile(result, stage, f"{name[:1].upper()}{name[1:]} {aggregate}", metric, aggregate)


def _tile(result: Result, stage: Stage, label: str, metric: str, aggregate: str | None = None) -> model.HeadlineTile:
    limits = {(one.objective.metric, one.objective.aggregate): limit_of(one.objective) for one in result.slo}
    return model.HeadlineTile(
        label=label,
        quantity=stage_quantity(stage, metric, aggregate or "value"),
        limit=limits.get((metric, aggregate)),
        note=f"in {stage.name}",
    )
