"""Compare the variants of a local run by cost and by one latency percentile of one scenario.

The module also names variants by the settings in which they differ, and returns the max rate of a
variant that meets the SLO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.analysis.local.call_stages import (
    SEARCH_TAG,
    THROUGHPUT_METRICS,
    find_fastest_stage,
    find_max_throughput_per_s,
    find_throughput_metric,
    get_throughput,
)
from app.analysis.local.variants import (
    VariantPoint,
    compute_machine_s_per_thousand_rows,
    compute_usd_per_million_rows,
    find_pareto_front,
)
from app.records.estimate import Variant
from app.records.local import TEST_TAG, LocalResult, VariantData
from app.records.result import Estimate, Stage, Validity
from app.reporting.quantities import build_quantity, build_stage_quantity, find_unit
from reports import formatting
from reports.model import Quantity

_LEADING_SETTING_COUNT = 3
"""Number of leading settings that are joined by spaces instead of commas: model, provider and
precision. Each is one word."""


def format_common_settings(variants: Sequence[Variant]) -> str:
    """Format the settings that are the same for all variants, such as `digits cpu, 1 stream, 1
    thread`."""
    return _join_settings(variants[0], variants, is_shared=True) if variants else ""


def name_variants(variants: Sequence[Variant]) -> dict[Variant, str]:
    """Return a name for each variant. The name contains only the settings in which the variants
    differ, such as `int8-static, batch 8`. A single variant is named by its label."""
    if len(set(variants)) == 1:
        return {variants[0]: variants[0].label}
    return {variant: _join_settings(variant, variants, is_shared=False) for variant in variants}


def name_families(variants: Sequence[Variant]) -> dict[Variant, str]:
    """Return a name for the family of each variant: all variants that differ only in batch size,
    which a chart shows as one line. If there is only one family, its name is that of the model."""
    variants_without_batch = [msgspec.structs.replace(variant, batch=0) for variant in variants]
    names = (
        name_variants(variants_without_batch)
        if len(set(variants_without_batch)) > 1
        else {variant: variant.model for variant in variants_without_batch}
    )
    return {
        variant: names[variant_without_batch]
        for variant, variant_without_batch in zip(variants, variants_without_batch, strict=True)
    }


def _join_settings(variant: Variant, variants: Sequence[Variant], *, is_shared: bool) -> str:
    all_settings = [_format_settings(other_variant) for other_variant in variants]
    settings_with_positions = [
        (setting, index < _LEADING_SETTING_COUNT)
        for index, setting in enumerate(_format_settings(variant))
        if setting and (len({settings[index] for settings in all_settings}) == 1) is is_shared
    ]
    leading_text = " ".join(setting for setting, is_leading in settings_with_positions if is_leading)
    return ", ".join(
        [
            *([leading_text] if leading_text else []),
            *(setting for setting, is_leading in settings_with_positions if not is_leading),
        ]
    )


def _format_settings(variant: Variant) -> tuple[str, ...]:
    return (
        variant.model,
        variant.provider,
        variant.precision,
        f"batch {variant.batch}",
        _format_count(variant.streams, "stream"),
        _format_count(variant.threads, "thread"),
        f"devices {' + '.join(variant.devices)}" if variant.devices else "",
    )


def _format_count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def get_max_call_rate(variant: VariantData, headline_stages: Sequence[Stage]) -> Quantity | None:
    """Return the max rate that meets the SLO, in calls per second, with the validity of the stages
    that measured it; `None` if no search was run."""
    if variant.server_per_s is None:
        return None
    statuses = [stage.verdict.status for stage in headline_stages if SEARCH_TAG in stage.tags]
    validity: Validity = "INVALID" if "INVALID" in statuses else "WARN" if "WARN" in statuses else "VALID"
    return build_quantity(variant.server_per_s, "calls/s", validity)


def format_max_inference_rate(variant: VariantData) -> str:
    """Format the max rate of a variant in inferences per second, such as `batch 16: 8,960
    inferences/s`. The result is empty for batch size 1 or without a max rate."""
    per_s, batch = variant.server_per_s, variant.variant.batch
    if per_s is None or per_s.value is None or batch == 1:
        return ""
    rate_text = formatting.with_unit(formatting.format_number(per_s.value * batch), "inferences/s")
    return f"batch {formatting.format_count(batch)}: {rate_text}"


def format_load(stage: Stage) -> str:
    """Format the load of a stage: the test of a language model, such as `tg128`, or the scenario."""
    return stage.tags.get(TEST_TAG) or stage.tags.get("scenario", stage.kind)


_SCENARIOS = ("single-stream", "server", "multi-stream", "offline")
_PERCENTILES = ("p95", "p50", "mean")

StagesByVariant = Mapping[Variant, Sequence[Stage]]


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    """Axes of the front: an aggregate of one metric under one load, and the cost per unit of
    output. `load` is a scenario or, for a language model, a test."""

    load: str
    metric: str
    aggregate: str
    usd_per_hour: float | None
    throughput_metric: str = THROUGHPUT_METRICS[0]

    @property
    def latency_text(self) -> str:
        return f"{self.aggregate} {formatting.format_metric_label(self.metric)}, {self.load}"

    @property
    def cost_text(self) -> str:
        return format_cost_label(self.throughput_metric, self.usd_per_hour)


class FrontPosition(msgspec.Struct, frozen=True, kw_only=True):
    latency: Quantity
    cost: Quantity
    throughput: Quantity
    is_on_frontier: bool


def choose_time_metric(scenario: str) -> str:
    """Return the metric of call times in a scenario.

    The metric is latency, which includes queueing, if calls have scheduled starts. Otherwise, the
    metric is the service time.
    """
    return "latency_ms" if scenario in ("server", "multi-stream") else "service_ms"


_COUNTED_UNITS = {
    "throughput_per_s": "inferences",
    "decode_tokens_per_s": "output tokens",
    "prefill_tokens_per_s": "prompt tokens",
}


def format_cost_label(throughput_metric: str, usd_per_hour: float | None) -> str:
    """Format the name of the cost that follows from a throughput metric, such as `cost per 1M
    output tokens`, or `machine time per 1k output tokens` without a price."""
    unit = _COUNTED_UNITS[throughput_metric]
    return f"machine time per 1k {unit}" if usd_per_hour is None else f"cost per 1M {unit}"


def choose_axes(local: LocalResult, stages_by_variant: StagesByVariant) -> Axes:
    """Return the load and the latency aggregate that are available for the most variants.

    The load is a scenario and, in case of a tie, the highest percentile is preferred. For a
    language model, the load is a test, and the median ITL is preferred to the median TTFT and to
    the median time of the test."""
    all_stages = [stage for variant_stages in stages_by_variant.values() for stage in variant_stages]
    tests = dict.fromkeys(stage.tags[TEST_TAG] for stage in all_stages if TEST_TAG in stage.tags)
    fastest_stage = find_fastest_stage(all_stages)
    candidates = [
        Axes(
            load=load,
            metric=metric,
            aggregate=aggregate,
            usd_per_hour=local.usd_per_hour,
            throughput_metric=THROUGHPUT_METRICS[0] if fastest_stage is None else find_throughput_metric(fastest_stage),
        )
        for metric, aggregate, load in (_list_test_axes(list(tests)) if tests else _SCENARIO_AXES)
    ]

    def count_variants(axes: Axes) -> int:
        return len({stage.variant for stage in all_stages if _get_latency(stage, axes) is not None})

    return max(candidates, key=count_variants)


_SCENARIO_AXES = [
    (choose_time_metric(scenario), aggregate, scenario) for aggregate in _PERCENTILES for scenario in _SCENARIOS
]


def _list_test_axes(tests: Sequence[str]) -> list[tuple[str, str, str]]:
    return [
        (metric, aggregate, test)
        for metric in ("itl_ms", "ttft_ms", "service_ms")
        for aggregate in ("p50", "mean")
        for test in tests
    ]


def find_front_positions(
    local: LocalResult, stages_by_variant: StagesByVariant, axes: Axes
) -> tuple[FrontPosition, ...]:
    """Return the latency and the cost of each variant, in order of the variants. Invalid variants
    and variants that ended early are never on the Pareto front."""
    positions = [_build_position(variant, stages_by_variant[variant.variant], axes) for variant in local.variants]
    points = [
        _build_point(variant, position, is_complete=_is_complete(variant, stages_by_variant[variant.variant]))
        for variant, position in zip(local.variants, positions, strict=True)
    ]
    front_indices = find_pareto_front(points)
    return tuple(
        msgspec.structs.replace(position, is_on_frontier=index in front_indices and len(points) > 1)
        for index, position in enumerate(positions)
    )


def find_fastest_valid_stage(stages: Sequence[Stage], metric: str | None = None) -> Stage | None:
    """Return the valid stage with the highest throughput, by the metric or, by default, by that of
    `find_fastest_stage`. If no stage is valid, return the stage with the highest throughput; `None`
    if no throughput was measured."""
    metrics = THROUGHPUT_METRICS if metric is None else (metric,)
    return find_fastest_stage([stage for stage in stages if stage.verdict.status != "INVALID"] or stages, metrics)


def build_throughput_quantity(stage: Stage) -> Quantity:
    """Return the throughput of a stage, in inferences per second or, for a language model, in tokens
    per second."""
    return build_stage_quantity(stage, find_throughput_metric(stage))


def compute_cost(throughput: Estimate, usd_per_hour: float | None) -> tuple[Estimate, str]:
    """Return the cost and its unit for a given throughput at 100 % utilization. The cost is in USD
    per 1M inferences (or tokens), or in seconds per 1k inferences (or tokens) if the price is
    unknown."""
    if throughput.value is None or throughput.value <= 0:
        return Estimate(None, reason=throughput.reason or "no throughput"), ""

    def convert_to_cost(rate_per_s: float) -> float:
        if usd_per_hour is None:
            return compute_machine_s_per_thousand_rows(rate_per_s)
        return compute_usd_per_million_rows(rate_per_s, usd_per_hour)

    interval = throughput.ci95
    ci95 = (
        (convert_to_cost(interval[1]), convert_to_cost(interval[0]))
        if interval is not None and interval[0] > 0
        else None
    )
    unit = "s" if usd_per_hour is None else "USD"
    return Estimate(convert_to_cost(throughput.value), ci95, throughput.n), unit


def _build_position(variant: VariantData, stages: Sequence[Stage], axes: Axes) -> FrontPosition:
    fastest_stage = find_fastest_valid_stage(stages)
    throughput = (
        Estimate(None, reason=variant.failure or "not measured")
        if fastest_stage is None
        else get_throughput(fastest_stage)
    )
    validity = "VALID" if fastest_stage is None else fastest_stage.verdict.status
    cost, cost_unit = compute_cost(throughput, axes.usd_per_hour)
    unit = "1/s" if fastest_stage is None else find_unit(find_throughput_metric(fastest_stage))
    return FrontPosition(
        latency=_find_worst_latency(stages, axes),
        cost=build_quantity(cost, cost_unit, validity),
        throughput=build_quantity(throughput, unit, validity),
        is_on_frontier=False,
    )


def _find_worst_latency(stages: Sequence[Stage], axes: Axes) -> Quantity:
    """Return the highest latency of the stages, by the load, the metric and the aggregate of
    `axes`. If the latency was not measured, the quantity has no value."""
    measured_stages = [stage for stage in stages if _get_latency(stage, axes) is not None]
    if not measured_stages:
        return Quantity(None, "ms", reason="not measured, or too few samples")
    worst_stage = max(measured_stages, key=lambda stage: _get_latency(stage, axes) or 0.0)
    return build_quantity(worst_stage.metrics[axes.metric][axes.aggregate], "ms", worst_stage.verdict.status)


def _build_point(variant: VariantData, position: FrontPosition, *, is_complete: bool) -> VariantPoint:
    accuracy = variant.accuracy
    return VariantPoint(
        latency_ms=position.latency.value if is_complete else None,
        cost=position.cost.value,
        accuracy=accuracy.value.value if accuracy is not None and accuracy.metric == "top-1" else None,
    )


def _is_complete(variant: VariantData, stages: Sequence[Stage]) -> bool:
    return variant.failure is None and find_max_throughput_per_s(stages) is not None and not _has_invalid_stage(stages)


def _has_invalid_stage(stages: Sequence[Stage]) -> bool:
    return any(stage.verdict.status == "INVALID" for stage in stages)


def _get_latency(stage: Stage, axes: Axes) -> float | None:
    if format_load(stage) != axes.load:
        return None
    estimate = stage.metrics.get(axes.metric, {}).get(axes.aggregate)
    return None if estimate is None else estimate.value
