"""Pairs the metrics that two sets of runs have in common, for the same stage or the same
variant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from app.analysis.comparisons.repeats import Repeats, compute_median
from app.records.comparison import MAX_RATE, StageMetric
from app.records.estimate import Estimate, Variant, join_variant_label
from app.records.local import TEST_TAG
from app.records.metrics import METRICS
from app.records.result import SWEEP_TAG, Result, Stage
from app.records.stage_kinds import STAGE_KINDS

_LATENCY_PERCENTILES = ("p50", "p95", "p99")
_HEADLINE_AGGREGATES: dict[str, tuple[str, ...]] = {
    "latency_ms": _LATENCY_PERCENTILES,
    "ttft_ms": _LATENCY_PERCENTILES,
    "tpot_ms": _LATENCY_PERCENTILES,
    "throughput_per_s": ("value",),
    "completed_per_s": ("value",),
    "output_tokens_per_s": ("value",),
}
_GENERATION_HEADLINE_AGGREGATES: dict[str, tuple[str, ...]] = {
    "prefill_tokens_per_s": ("value",),
    "decode_tokens_per_s": ("value",),
    "ttft_ms": _LATENCY_PERCENTILES,
    "itl_ms": _LATENCY_PERCENTILES,
}
"""Headline aggregates of the tests of a local language model."""
_SERVICE_TIME_METRIC = "service_ms"
_STAGE_FIELDS = ("achieved_per_s", "good_per_s")
_SEARCH = "search"


class ComparableStage(msgspec.Struct, frozen=True):
    """Stage or variant for which a metric was measured. `stage_name` is its display name; `key` is
    equal for comparable stages of different runs."""

    key: tuple[str, ...]
    stage_name: str
    is_requested: bool
    """True if the profile requested the load of the stage; False for search probes, and for models
    that were run locally in addition to an endpoint."""
    is_generation: bool = False
    """True if the stage is a test of a local language model."""
    drift: float | None = None
    """Change of the time of the first test of the variant during the run, if the check `drift`
    warned; None otherwise."""
    variant: Variant | None = None
    """Variant that was measured; None for an endpoint."""


class MetricPair(StageMetric, frozen=True):
    is_headline: bool
    repeats: Repeats
    drift: float | None = None
    """Drift of a side that has only one run; None if no check warned of one."""


MetricPairKey = tuple[tuple[str, ...], str, str]
"""Identifier of a metric pair: stage key, metric and aggregate."""


class _StageEstimate(msgspec.Struct, frozen=True):
    comparable_stage: ComparableStage
    estimate: Estimate
    has_latency: bool = True
    is_search_load: bool = False
    """True for a probe or a step of a search."""


def pair_metrics(baseline_runs: Sequence[Result], candidate_runs: Sequence[Result]) -> tuple[MetricPair, ...]:
    """Pair the metrics of two sets of runs, headline metrics first.

    Metrics are dropped if one side has no value, or if neither a higher nor a lower value is
    better. The max rate is dropped if no run tested a higher rate. If a side has a single run, the
    repeats are its stages; otherwise each run is one repeat."""
    free_settings = _find_free_settings((*baseline_runs, *candidate_runs))
    has_failed_rate = not all(
        run.max_rate is not None and run.max_rate.is_lower_bound for run in (*baseline_runs, *candidate_runs)
    )
    baseline_values, candidate_values = (
        _collect_values(baseline_runs, free_settings),
        _collect_values(candidate_runs, free_settings),
    )
    objective_metrics = _collect_objective_metrics(candidate_runs)
    pairs = [
        _build_pair(key, baseline_values[key], values, objective_metrics)
        for key, values in candidate_values.items()
        if baseline_values.get(key) and values
    ]
    pairs = [pair for pair in pairs if pair.better != "neither" and (has_failed_rate or pair.metric != MAX_RATE)]
    return tuple(sorted(pairs, key=lambda pair: not pair.is_headline))


def _collect_objective_metrics(runs: Sequence[Result]) -> set[tuple[str, str | None]]:
    return {
        (objective_result.objective.metric, objective_result.objective.aggregate)
        for run in runs
        for objective_result in run.slo
        if objective_result.objective.request_class is None
    }


class UnpairedMetric(StageMetric, frozen=True):
    """Metric that only one side has. The estimate of the other side has no value, but a reason."""

    is_headline: bool
    baseline: Estimate
    candidate: Estimate


def list_unpaired_metrics(
    baseline_runs: Sequence[Result], candidate_runs: Sequence[Result]
) -> tuple[UnpairedMetric, ...]:
    """Return the metrics that have a value on one side only, headline metrics first.

    Probes and steps of a search that the other side did not test are left out: two searches seldom
    test the same rates."""
    free_settings = _find_free_settings((*baseline_runs, *candidate_runs))
    sides = [_collect_values(runs, free_settings) for runs in (baseline_runs, candidate_runs)]
    reasons = [_collect_missing_reasons(runs, free_settings) for runs in (baseline_runs, candidate_runs)]
    stage_keys = [{stage_key for stage_key, _, _ in side} for side in reasons]
    objective_metrics = _collect_objective_metrics((*baseline_runs, *candidate_runs))
    unpaired = []
    for index, other_index in ((0, 1), (1, 0)):
        for key, values in sides[index].items():
            stage_key, metric, _ = key
            is_same_stage = stage_key in stage_keys[other_index]
            is_search_load = values[0].is_search_load and not is_same_stage
            if key in sides[other_index] or is_search_load or metric not in (*METRICS, MAX_RATE):
                continue
            reason = (reasons[other_index].get(key) or "not measured") if is_same_stage else "no such stage"
            pair = _build_pair(key, values, values, objective_metrics)
            if pair.better == "neither":
                continue
            both = [compute_median([value.estimate for value in values]), Estimate(None, reason=reason)]
            unpaired.append(
                UnpairedMetric(
                    metric=pair.metric,
                    aggregate=pair.aggregate,
                    unit=pair.unit,
                    better=pair.better,
                    stage=pair.stage,
                    is_headline=pair.is_headline,
                    baseline=both[index],
                    candidate=both[other_index],
                )
            )
    return tuple(sorted(unpaired, key=lambda metric: not metric.is_headline))


def _collect_missing_reasons(runs: Sequence[Result], free_settings: Collection[str]) -> dict[MetricPairKey, str | None]:
    """Return the reason why a metric has no value, or `None` if it has one, for each metric of each
    comparable stage of the runs."""
    reasons: dict[MetricPairKey, str | None] = {}
    for run in runs:
        reason = "no max-rate search" if run.max_rate is None else run.max_rate.per_s.reason
        reasons[(_SEARCH,), MAX_RATE, "value"] = reason
        for comparable_stage, stage in list_comparable_stages(run, free_settings=free_settings):
            for metric, estimates in _build_metrics(stage).items():
                for aggregate, estimate in estimates.items():
                    reasons[comparable_stage.key, metric, aggregate] = estimate.reason
    return reasons


_FREE_SETTINGS: dict[str, Any] = {"model": "", "provider": "", "precision": "", "threads": 1}
"""Settings of a variant in which compared runs may differ, with the value that replaces them in a
key. The others, such as the batch size, determine how much work a call is."""


def _find_free_settings(runs: Sequence[Result]) -> frozenset[str]:
    """Return the settings that each run has in a single value, such as its only model. The variants
    of the runs then correspond to each other even if this value differs."""
    variants_by_run = [{stage.variant for stage in run.stages if stage.variant is not None} for run in runs]
    return frozenset(
        name
        for name in _FREE_SETTINGS
        if all(len({getattr(variant, name) for variant in variants}) == 1 for variants in variants_by_run)
    )


def list_comparable_stages(
    result: Result, *, free_settings: Collection[str] = ()
) -> Iterator[tuple[ComparableStage, Stage]]:
    """Yield each comparable stage with its key, in which `free_settings` are left out. Warm-ups,
    INVALID stages, the pooled stage of a search, and tests of a language model that were repeated to
    detect drift are skipped; the individual search steps are included."""
    has_other_load = any(
        SWEEP_TAG not in stage.tags and STAGE_KINDS[stage.kind].has_constant_load
        for stage in _iterate_load_stages(result)
    )
    drifts = _find_drifts(result)
    for stage in result.stages:
        if not STAGE_KINDS[stage.kind].is_measured or stage.is_pooled or stage.verdict.status == "INVALID":
            continue
        if stage.variant is None:
            is_probe = stage.kind == "probe" or (has_other_load and SWEEP_TAG in stage.tags)
            yield ComparableStage((stage.name,), stage.name, not is_probe), stage
            continue
        test = stage.tags.get(TEST_TAG, "")
        if test and stage.repeat > 1:
            continue
        scenario = test or stage.tags.get("scenario", "")
        rate_text = "" if stage.scheduled_per_s is None else f"{stage.scheduled_per_s:.4g}/s"
        variant = msgspec.structs.replace(stage.variant, **{name: _FREE_SETTINGS[name] for name in free_settings})
        key = (variant.label, scenario, rate_text)
        drift = drifts.get(stage.variant) if test else None
        yield ComparableStage(key, stage.name, result.local is not None, bool(test), drift, stage.variant), stage


def _find_drifts(result: Result) -> dict[Variant, float]:
    """Return the drift of each variant of a language model whose check of the drift warned."""
    return {
        stage.variant: check.value
        for stage in result.stages
        for check in stage.checks
        if check.id == "drift" and check.verdict == "WARN" and isinstance(check.value, float)
        if stage.variant is not None and stage.repeat > 1
    }


def _iterate_load_stages(result: Result) -> Iterator[Stage]:
    return (stage for stage in result.stages if stage.variant is None)


def match_stages(runs: Sequence[Result]) -> dict[str, tuple[str, ...]]:
    """Return the stages that all runs have, by the name that a comparison gives them, with the name
    in each run."""
    free_settings = _find_free_settings(runs)
    stages_by_run = [
        {stage.key: stage for stage, _ in list_comparable_stages(run, free_settings=free_settings)} for run in runs
    ]
    first_stages, *other_stages = stages_by_run or [{}]
    return {
        _name_compared_stage(stage, stages_by_run[-1][key]): tuple(stages[key].stage_name for stages in stages_by_run)
        for key, stage in first_stages.items()
        if all(key in stages for stages in other_stages)
    }


def _collect_values(
    runs: Sequence[Result], free_settings: Collection[str]
) -> dict[MetricPairKey, list[_StageEstimate]]:
    run_values = [_read_values(run, free_settings) for run in runs]
    if len(run_values) == 1:
        return run_values[0]
    merged_values: dict[MetricPairKey, list[_StageEstimate]] = {}
    for values in run_values:
        for key, stage_values in values.items():
            median = compute_median([value.estimate for value in stage_values])
            merged_values.setdefault(key, []).append(msgspec.structs.replace(stage_values[0], estimate=median))
    return merged_values


def _read_values(result: Result, free_settings: Collection[str]) -> dict[MetricPairKey, list[_StageEstimate]]:
    values_by_key: dict[MetricPairKey, list[_StageEstimate]] = {}
    if result.max_rate is not None and result.max_rate.per_s.value is not None:
        comparable_stage = ComparableStage((_SEARCH,), _SEARCH, is_requested=True)
        values_by_key[(comparable_stage.key, MAX_RATE, "value")] = [
            _StageEstimate(comparable_stage, result.max_rate.per_s)
        ]
    for comparable_stage, stage in list_comparable_stages(result, free_settings=free_settings):
        has_latency = any(estimate.value is not None for estimate in stage.metrics.get("latency_ms", {}).values())
        for metric, estimates in _build_metrics(stage).items():
            for aggregate, estimate in estimates.items():
                if estimate.value is not None and metric in METRICS:
                    value = _StageEstimate(comparable_stage, estimate, has_latency, STAGE_KINDS[stage.kind].is_search)
                    values_by_key.setdefault((comparable_stage.key, metric, aggregate), []).append(value)
    return values_by_key


def _build_metrics(stage: Stage) -> dict[str, dict[str, Estimate]]:
    return stage.metrics | {
        name: {"value": getattr(stage, name)} for name in _STAGE_FIELDS if name not in stage.metrics
    }


def _build_pair(
    key: MetricPairKey,
    baseline_values: list[_StageEstimate],
    candidate_values: list[_StageEstimate],
    objective_metrics: set[tuple[str, str | None]],
) -> MetricPair:
    _, metric, aggregate_name = key
    aggregate, comparable_stage = (
        None if aggregate_name == "value" else aggregate_name,
        candidate_values[0].comparable_stage,
    )
    is_generation = comparable_stage.is_generation
    headline_aggregates = (_GENERATION_HEADLINE_AGGREGATES if is_generation else _HEADLINE_AGGREGATES).get(metric, ())
    if metric == _SERVICE_TIME_METRIC and not is_generation and not candidate_values[0].has_latency:
        headline_aggregates = _LATENCY_PERCENTILES
    is_headline_metric = (
        metric == MAX_RATE or aggregate_name in headline_aggregates or (metric, aggregate) in objective_metrics
    )
    drifts = [
        values[0].comparable_stage.drift
        for values in (baseline_values, candidate_values)
        if len(values) == 1 and values[0].comparable_stage.drift is not None
    ]
    return MetricPair(
        metric=metric,
        aggregate=aggregate,
        unit="1/s" if metric == MAX_RATE else METRICS[metric].unit,
        better="higher" if metric == MAX_RATE else METRICS[metric].better,
        stage=_name_compared_stage(baseline_values[0].comparable_stage, comparable_stage),
        is_headline=comparable_stage.is_requested and is_headline_metric,
        repeats=Repeats(
            tuple(value.estimate for value in baseline_values), tuple(value.estimate for value in candidate_values)
        ),
        drift=max(drifts, default=None),
    )


def _name_compared_stage(baseline: ComparableStage, candidate: ComparableStage) -> str:
    """Return the name of a pair of stages. If their variants differ in a setting, such as the
    model, the name has only the settings that they share."""
    if baseline.variant is None or candidate.variant is None or baseline.variant == candidate.variant:
        return candidate.stage_name
    shared = [
        text if text == other_text else ""
        for text, other_text in zip(baseline.variant.label_parts, candidate.variant.label_parts, strict=True)
    ]
    return candidate.stage_name.replace(candidate.variant.label, join_variant_label(shared))
