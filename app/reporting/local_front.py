"""Variants beside one another: one percentile of one scenario, and one cost.

What variants of one run are called: what tells them from one another, and what they share.

The most arrivals that a variant carries inside the SLO, where a search looked for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.analysis.local.call_stages import IN_SEARCH, fastest_per_s
from app.analysis.local.variants import VariantPoint, front_of, machine_s_per_thousand_rows, usd_per_million_rows
from app.records.estimate import Variant
from app.records.local import LocalResult, VariantFacts
from app.records.result import Estimate, Stage, Trust
from app.reporting.quantities import quantity
from reports import formatting
from reports.model import Quantity

_HEAD = 3
"""Model, provider and precision are one word each, and need no comma between them."""


def common_of(variants: Sequence[Variant]) -> str:
    """What all of them share, as in `digits cpu, 1 stream, 1 thread`."""
    return _joined(variants[0], variants, shared=True) if variants else ""


def names_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """As in `int8-static, batch 8`; the variant's own label where there is but one."""
    if len(set(variants)) == 1:
        return {variants[0]: variants[0].label}
    return {one: _joined(one, variants, shared=False) for one in variants}


def families_of(variants: Sequence[Variant]) -> dict[Variant, str]:
    """Names without the batch, for lines that run over it; the model's where nothing else differs."""
    bare = [msgspec.structs.replace(one, batch=0) for one in variants]
    names = names_of(bare) if len(set(bare)) > 1 else {one: one.model for one in bare}
    return {one: names[without] for one, without in zip(variants, bare, strict=True)}


def _joined(one: Variant, variants: Sequence[Variant], *, shared: bool) -> str:
    others = [_settings(other) for other in variants]
    kept = [
        (words, place < _HEAD)
        for place, words in enumerate(_settings(one))
        if words and (len({other[place] for other in others}) == 1) is shared
    ]
    head = " ".join(words for words, is_head in kept if is_head)
    return ", ".join([*([head] if head else []), *(words for words, is_head in kept if not is_head)])


def _settings(one: Variant) -> tuple[str, ...]:
    return (
        one.model,
        one.provider,
        one.precision,
        f"batch {one.batch}",
        _counted(one.streams, "stream"),
        _counted(one.threads, "thread"),
        f"devices {' + '.join(one.devices)}" if one.devices else "",
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def arrivals_of(facts: VariantFacts, answering: Sequence[Stage]) -> Quantity | None:
    """Calls a second, as trustworthy as the stages that held there; None where nobody searched."""
    if facts.server_per_s is None:
        return None
    held = [stage.verdict.status for stage in answering if IN_SEARCH in stage.tags]
    trust: Trust = "INVALID" if "INVALID" in held else "WARN" if "WARN" in held else "VALID"
    return quantity(facts.server_per_s, "calls/s", trust)


def inferences_words(facts: VariantFacts) -> str:
    """As in `16 rows each: 8,960/s`; nothing of calls of one row."""
    per_s, batch = facts.server_per_s, facts.variant.batch
    if per_s is None or per_s.value is None or batch == 1:
        return ""
    rows = formatting.with_unit(formatting.number(per_s.value * batch), "/s")
    return f"{formatting.count(batch)} rows each: {rows}"


_SCENARIOS = ("single-stream", "server", "multi-stream", "offline")
_PERCENTILES = ("p95", "p50", "mean")

Stages = Mapping[Variant, Sequence[Stage]]


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    scenario: str
    aggregate: str
    usd_per_hour: float | None

    @property
    def latency_words(self) -> str:
        return f"{self.aggregate} of {formatting.metric(self.metric)}, {self.scenario}"

    @property
    def metric(self) -> str:
        return time_metric(self.scenario)

    @property
    def cost_words(self) -> str:
        return "machine time per 1k inferences" if self.usd_per_hour is None else "cost per 1M inferences"


class FrontPosition(msgspec.Struct, frozen=True, kw_only=True):
    latency: Quantity
    cost: Quantity
    throughput: Quantity
    on_front: bool


def time_metric(scenario: str) -> str:
    """Where calls are due at a time of their own, waiting counts; elsewhere the time of a call is all there is."""
    return "latency_ms" if scenario in ("server", "multi-stream") else "service_ms"


def axes_of(local: LocalResult, stages: Stages) -> Axes:
    """The scenario and the percentile that the most variants have; the sharpest percentile where several do."""
    found = [one for some in stages.values() for one in some]
    candidates = [(scenario, aggregate) for aggregate in _PERCENTILES for scenario in _SCENARIOS]

    def known(candidate: tuple[str, str]) -> int:
        scenario, aggregate = candidate
        return len({one.variant for one in found if _latency(one, scenario, aggregate) is not None})

    scenario, aggregate = max(candidates, key=known)
    return Axes(scenario=scenario, aggregate=aggregate, usd_per_hour=local.usd_per_hour)


def front_places(local: LocalResult, stages: Stages, axes: Axes) -> tuple[FrontPosition, ...]:
    """One a variant, in their order. What cannot be relied on, and what ended early, is on no front."""
    places = [_place(facts, stages[facts.variant], axes) for facts in local.variants]
    points = [
        _point(facts, place, is_trusted=_is_whole(facts, stages[facts.variant]))
        for facts, place in zip(local.variants, places, strict=True)
    ]
    front = front_of(points)
    return tuple(
        msgspec.structs.replace(place, on_front=index in front and len(points) > 1)
        for index, place in enumerate(places)
    )


def fastest_stage(stages: Sequence[Stage]) -> Stage | None:
    """The stage with the most throughput; of those that can be relied on, if any can."""
    trusted = [one for one in stages if one.verdict.status != "INVALID"]
    known = [one for one in trusted or stages if _throughput(one).value is not None]
    return max(known, key=lambda one: _throughput(one).value or 0.0, default=None)


def cost_of(throughput: Estimate, usd_per_hour: float | None) -> tuple[Estimate, str]:
    """With its unit. Of a machine that is never idle."""
    if throughput.value is None or throughput.value <= 0:
        return Estimate(None, reason=throughput.reason or "no throughput"), ""

    def at(per_s: float) -> float:
        if usd_per_hour is None:
            return machine_s_per_thousand_rows(per_s)
        return usd_per_million_rows(per_s, usd_per_hour)

    low_high = throughput.ci95
    ci95 = (at(low_high[1]), at(low_high[0])) if low_high is not None and low_high[0] > 0 else None
    unit = "s" if usd_per_hour is None else "USD"
    return Estimate(at(throughput.value), ci95, throughput.n), unit


def _place(facts: VariantFacts, stages: Sequence[Stage], axes: Axes) -> FrontPosition:
    fastest = fastest_stage(stages)
    throughput = Estimate(None, reason=facts.failure or "not measured") if fastest is None else _throughput(fastest)
    trust = "VALID" if fastest is None else fastest.verdict.status
    cost, unit = cost_of(throughput, axes.usd_per_hour)
    return FrontPosition(
        latency=_worst(stages, axes),
        cost=quantity(cost, unit, trust),
        throughput=quantity(throughput, "1/s", trust),
        on_front=False,
    )


def _worst(stages: Sequence[Stage], axes: Axes) -> Quantity:
    """Of several rates of arrivals, at the one where it is worst."""
    found = [one for one in stages if _latency(one, axes.scenario, axes.aggregate) is not None]
    if not found:
        return Quantity(None, "ms", reason="not measured, or of too few calls")
    worst = max(found, key=lambda one: _latency(one, axes.scenario, axes.aggregate) or 0.0)
    return quantity(worst.metrics[axes.metric][axes.aggregate], "ms", worst.verdict.status)


def _point(facts: VariantFacts, place: FrontPosition, *, is_trusted: bool) -> VariantPoint:
    accuracy = facts.accuracy
    return VariantPoint(
        latency_ms=place.latency.value if is_trusted else None,
        rows_per_s=place.throughput.value,
        cost=place.cost.value,
        accuracy=accuracy.value.value if accuracy is not None and accuracy.metric == "top-1" else None,
    )


def _is_whole(facts: VariantFacts, stages: Sequence[Stage]) -> bool:
    return facts.failure is None and fastest_per_s(stages) is not None and not _is_spoilt(stages)


def _is_spoilt(stages: Sequence[Stage]) -> bool:
    return any(one.verdict.status == "INVALID" for one in stages)


def _latency(stage: Stage, scenario: str, aggregate: str) -> float | None:
    if stage.tags.get("scenario") != scenario:
        return None
    estimate = stage.metrics.get(time_metric(scenario), {}).get(aggregate)
    return None if estimate is None else estimate.value


def _throughput(stage: Stage) -> Estimate:
    return stage.metrics.get("throughput_per_s", {}).get("value") or Estimate(None, reason="not measured")
