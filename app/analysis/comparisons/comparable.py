"""What two sets of runs both say, side by side: each metric at the same stage, or of the same variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from app.analysis.comparisons.repeats import Repeats, median_of
from app.records.comparison import MAX_RATE, StageMetric
from app.records.estimate import Estimate
from app.records.metrics import METRICS
from app.records.result import IN_SWEEP, Result, Stage

_TIMES = ("p50", "p95", "p99")
_HEADLINES: dict[str, tuple[str, ...]] = {
    "latency_ms": _TIMES,
    "ttft_ms": _TIMES,
    "tpot_ms": _TIMES,
    "throughput_per_s": ("value",),
    "completed_per_s": ("value",),
    "output_tokens_per_s": ("value",),
}
_WITHOUT_INTENDED_STARTS = "service_ms"
_OF_STAGES = ("achieved_per_s", "good_per_s")
_SEARCH = "search"


class Place(msgspec.Struct, frozen=True):
    """`stage` is what it is called; `key` is the same for what may be compared."""

    key: tuple[str, ...]
    stage: str
    is_loaded: bool
    """Asked for by the profile: not a probe of a search, nor a model that was run beside its endpoint."""


class Comparable(StageMetric, frozen=True):
    is_headline: bool
    repeats: Repeats


Key = tuple[tuple[str, ...], str, str]
"""Of a place, a metric and an aggregate."""


class _Value(msgspec.Struct, frozen=True):
    place: Place
    estimate: Estimate
    has_latency: bool = True


def comparables(base: Sequence[Result], candidate: Sequence[Result]) -> tuple[Comparable, ...]:
    """Headlines first. What has no value on one side, and what is neither better high nor low, is left out; and the
    rate that all carried, where nobody tried a higher one.

    A single run's repeats are those of its stages; each of several runs is one repeat.
    """
    one_model = all(len(_models(run)) == 1 for run in (*base, *candidate))
    has_limit = not all(run.max_rate is not None and run.max_rate.at_least for run in (*base, *candidate))
    before, after = _side(base, one_model), _side(candidate, one_model)
    objectives = {(one.objective.metric, one.objective.aggregate) for run in candidate for one in run.slo}
    found = [
        _comparable(key, before[key], values, objectives) for key, values in after.items() if before.get(key) and values
    ]
    found = [one for one in found if one.better != "neither" and (has_limit or one.metric != MAX_RATE)]
    return tuple(sorted(found, key=lambda one: not one.is_headline))


def places_of(result: Result, *, one_model: bool) -> Iterator[tuple[Place, Stage]]:
    """Stages that stand for themselves: no warm-ups, nothing INVALID, and not the holds of a search taken together."""
    has_other = any(IN_SWEEP not in one.tags and one.kind in ("steady", "closed") for one in _loads(result))
    for stage in result.stages:
        if stage.kind == "warmup" or stage.is_pooled or stage.verdict.status == "INVALID":
            continue
        if stage.variant is None:
            is_probe = stage.kind == "probe" or (has_other and IN_SWEEP in stage.tags)
            yield Place((stage.name,), stage.name, not is_probe), stage
            continue
        scenario = stage.tags.get("scenario", "")
        rate = "" if stage.scheduled_per_s is None else f"{stage.scheduled_per_s:.4g}/s"
        label = stage.variant.label
        key = label.removeprefix(stage.variant.model) if one_model else label
        yield Place((key, scenario, rate), stage.name, result.local is not None), stage


def _loads(result: Result) -> Iterator[Stage]:
    return (stage for stage in result.stages if stage.variant is None)


def _models(result: Result) -> set[str]:
    return {stage.variant.model for stage in result.stages if stage.variant is not None}


def _side(runs: Sequence[Result], one_model: bool) -> dict[Key, list[_Value]]:
    each = [_values(run, one_model) for run in runs]
    if len(each) == 1:
        return each[0]
    together: dict[Key, list[_Value]] = {}
    for values in each:
        for key, several in values.items():
            middle = median_of([one.estimate for one in several])
            together.setdefault(key, []).append(msgspec.structs.replace(several[0], estimate=middle))
    return together


def _values(result: Result, one_model: bool) -> dict[Key, list[_Value]]:
    found: dict[Key, list[_Value]] = {}
    if result.max_rate is not None and result.max_rate.per_s.value is not None:
        place = Place((_SEARCH,), _SEARCH, is_loaded=True)
        found[(place.key, MAX_RATE, "value")] = [_Value(place, result.max_rate.per_s)]
    for place, stage in places_of(result, one_model=one_model):
        has_latency = any(one.value is not None for one in stage.metrics.get("latency_ms", {}).values())
        for metric, aggregates in _metrics(stage).items():
            for aggregate, estimate in aggregates.items():
                if estimate.value is not None and metric in METRICS:
                    value = _Value(place, estimate, has_latency)
                    found.setdefault((place.key, metric, aggregate), []).append(value)
    return found


def _metrics(stage: Stage) -> dict[str, dict[str, Estimate]]:
    return stage.metrics | {name: {"value": getattr(stage, name)} for name in _OF_STAGES if name not in stage.metrics}


def _comparable(
    key: Key, before: list[_Value], after: list[_Value], objectives: set[tuple[str, str | None]]
) -> Comparable:
    _, metric, name = key
    aggregate, place = None if name == "value" else name, after[0].place
    usual = _HEADLINES.get(metric, ())
    if metric == _WITHOUT_INTENDED_STARTS and not after[0].has_latency:
        usual = _TIMES
    is_known = metric == MAX_RATE or name in usual or (metric, aggregate) in objectives
    return Comparable(
        metric=metric,
        aggregate=aggregate,
        unit="1/s" if metric == MAX_RATE else METRICS[metric].unit,
        better="higher" if metric == MAX_RATE else METRICS[metric].better,
        stage=place.stage,
        is_headline=place.is_loaded and is_known,
        repeats=Repeats(tuple(one.estimate for one in before), tuple(one.estimate for one in after)),
    )
