"""Describe how a run was measured, in sentences derived from the result and, for a local run, from
its profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from app.errors import ProfileError
from app.profiles.document import read_document
from app.records.local import TEST_TAG, VariantData
from app.records.result import Estimate, Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import find_headline_stages
from app.reporting.machine import describe_clock, describe_workers
from reports import formatting
from reports.formatting import format_count_noun

if TYPE_CHECKING:
    import pandas as pd

_SCENARIOS = {
    "single-stream": "one call at a time",
    "multi-stream": "queries of one call per stream, one query at a time",
    "offline": "maximum throughput on all streams",
    "server": "open-loop Poisson arrivals",
}


def describe_local_run(result: Result, load: Mapping[str, Any]) -> tuple[str, ...]:
    """Return sentences about how a local run was measured. `load` is the section `load` of the
    profile, read without validation."""
    local = result.local
    stages = [stage for stage in result.stages if stage.variant is not None]
    if local is None or not stages:
        return ()
    return (
        _describe_processes(stages),
        _describe_scenarios(stages),
        *_describe_times(stages),
        *_describe_warm_up(stages, load),
        *_describe_stop_rule(stages, load),
        *_describe_outputs(local.variants),
        *_describe_cold_starts(local.variants),
    )


def _describe_processes(stages: Sequence[Stage]) -> str:
    variant_count = len({stage.variant for stage in stages})
    if variant_count == 1:
        return "The variant ran in a separate process."
    return (
        f"{format_count_noun(variant_count, 'variant')} ran one after another, each in a separate process, so that a "
        "crash or "
        "load of one does not affect the others."
    )


def _describe_scenarios(stages: Sequence[Stage]) -> str:
    scenarios = dict.fromkeys(stage.tags.get("scenario", "") for stage in stages)
    if any(TEST_TAG in stage.tags for stage in stages):
        tests_text = ", ".join(dict.fromkeys(stage.tags.get(TEST_TAG, "") for stage in stages))
        repetitions_text = format_count_noun(sum(stage.completed for stage in stages), "repetition")
        return f"{repetitions_text} of the tests {tests_text} were timed, with random prompts and greedy sampling."
    descriptions_text = "; ".join(f"{name}: {_SCENARIOS[name]}" for name in scenarios if name in _SCENARIOS)
    calls_text = formatting.format_count(sum(stage.completed for stage in stages))
    scenarios_text = f" ({descriptions_text})" if descriptions_text else ""
    return f"{calls_text} calls were timed in MLPerf scenarios{scenarios_text}."


def _describe_times(stages: Sequence[Stage]) -> Iterator[str]:
    scenarios = {stage.tags.get("scenario") for stage in stages}
    if "generation" in scenarios:
        yield (
            "Prefill throughput is the number of prompt tokens divided by the time to process them. Decode throughput "
            "is the number of tokens after that, divided by the time of the steps that generate them. The first test "
            "of each variant is repeated after all others, to detect drift."
        )
        return
    yield (
        "Service time is the time of the runtime's call, including copies to and from the device. Batch preparation "
        "and post-processing are timed separately."
    )
    if "server" in scenarios:
        yield "In the server scenario, latency starts at the scheduled arrival, so it includes time in the queue."
    if "multi-stream" in scenarios:
        yield "In the multi-stream scenario, latency runs from the scheduled start of a query to its last response."


def _describe_warm_up(stages: Sequence[Stage], load: Mapping[str, Any]) -> Iterator[str]:
    time_limit_text = f", or for at most {load['warmup']}" if load.get("warmup") else ""
    agreement_text = f"agreed within 10{formatting.THIN_SPACE}%{time_limit_text}."
    if any(TEST_TAG in stage.tags for stage in stages):
        yield (
            "Each test was preceded by warm-up repetitions, which are excluded, until the times of three consecutive "
            f"repetitions {agreement_text}"
        )
        return
    yield (
        "Each scenario was preceded by warm-up calls, which are excluded, until the medians of three consecutive "
        f"windows {agreement_text}"
    )


def _describe_stop_rule(stages: Sequence[Stage], load: Mapping[str, Any]) -> Iterator[str]:
    if not all(load.get(name) for name in ("half_width", "min_duration", "max_duration")):
        return
    closed_stages = [stage for stage in stages if stage.kind == "closed"]
    if closed_stages:
        load_noun = "test" if any(TEST_TAG in stage.tags for stage in stages) else "scenario"
        yield (
            f"Each {load_noun} ran for at least {load['min_duration']}, until the half-width of the "
            f"95{formatting.THIN_SPACE}% CI "
            f"of the mean time was at most {load['half_width']} of the mean, and for at most {load['max_duration']}."
        )


def _describe_outputs(variants: Sequence[VariantData]) -> Iterator[str]:
    compared_counts = [variant.fidelity.rows for variant in variants if variant.fidelity is not None]
    if compared_counts:
        rows_text = _format_range(compared_counts)
        yield (
            f"Outputs of the measured calls ({rows_text} rows per variant) were compared with those of the fp32 model "
            "on the CPU for the same inputs."
        )
    scored_counts = [
        variant.accuracy.value.n for variant in variants if variant.accuracy is not None and variant.accuracy.value.n
    ]
    if scored_counts:
        yield (
            f"Accuracy was evaluated on {_format_range(scored_counts)} labeled rows after the measurement, with the "
            "same session; "
            "differences are paired by row."
        )


def _describe_cold_starts(variants: Sequence[VariantData]) -> Iterator[str]:
    start_count = sum(len(variant.cold_starts) for variant in variants)
    if start_count:
        yield (
            f"{format_count_noun(start_count, 'cold start')} {'was' if start_count == 1 else 'were'} measured, each "
            "in a new "
            "process, once per group of variants that load in the same way. The file cache of the OS was not cleared."
        )


def _format_range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return (
        formatting.format_count(low)
        if low == high
        else f"{formatting.format_count(low)} to {formatting.format_count(high)}"
    )


_ARRIVAL_NAMES = {"poisson": "Poisson"}


class MethodSpec(msgspec.Struct, frozen=True):
    """Parts of a profile that the description of the method uses. A part that the profile does not
    define is `None` or empty."""

    seed: int | None
    arrivals: tuple[str, ...]
    load: dict[str, Any] = {}
    """Section `load` of the profile, read without validation."""


def read_spec(spec_text: str) -> MethodSpec:
    """Read the parts of a profile that the description of the method uses. The profile is not
    validated, since a report must support profiles of any version."""
    try:
        spec = read_document(spec_text.encode(), "spec.yaml").value
    except ProfileError:
        spec = None
    load = _as_mapping(_as_mapping(spec).get("load"))
    stages = load.get("stages")
    load_sections = [_as_mapping(load.get("search")), *map(_as_mapping, stages if isinstance(stages, list) else [])]
    seed = load.get("seed")
    return MethodSpec(
        seed=seed if isinstance(seed, int) else None,
        arrivals=tuple(
            sorted({str(load_section["arrivals"]) for load_section in load_sections if "arrivals" in load_section})
        ),
        load=load,
    )


def describe_method(result: Result, spec: MethodSpec, telemetry: pd.DataFrame) -> tuple[str, ...]:
    load_stages = [stage for stage in result.stages if stage.variant is None]
    sentences = [
        *_describe_model_only(result),
        *describe_local_run(result, spec.load),
        *(_describe_load(load_stages, spec) if load_stages else ()),
        *_describe_send_lag(find_headline_stages(result)),
        *_describe_search(load_stages),
        *_describe_statistics(result),
        *_describe_telemetry(telemetry),
        _describe_clock_drift(result),
        _describe_selftest(result),
    ]
    if result.plan is not None:
        sentences.append(f"Price ages are as of {result.plan.planned_on}.")
    return tuple(sentences)


def _describe_model_only(result: Result) -> tuple[str, ...]:
    """Return the sentence about a served model that was also measured without its server; empty for
    all other runs."""
    local_stages = [stage for stage in result.stages if stage.variant is not None]
    if not local_stages or result.local is not None:
        return ()
    calls_text = formatting.format_count(sum(stage.completed for stage in local_stages))
    return (
        "The standalone model (without its server) was measured with "
        f"{format_count_noun(len(local_stages), 'batch size')} and {calls_text} calls, one at a time in a separate "
        "process. Latency is the time per call.",
    )


def _describe_load(load_stages: list[Stage], spec: MethodSpec) -> tuple[str, ...]:
    warmups = [stage for stage in load_stages if stage.kind == "warmup"]
    closed_stages = [stage for stage in load_stages if stage.kind == "closed"]
    worker_sentences = () if (sentence := describe_workers(load_stages)) is None else (sentence,)
    sentences = [
        *_describe_sending(load_stages, closed_stages, spec),
        *worker_sentences,
        *_describe_latency_times(load_stages),
    ]
    if warmups:
        duration_s = sum(stage.window.end_ns - stage.window.start_ns for stage in warmups) / 1e9
        sentences.append(
            f"{format_count_noun(len(warmups), 'warm-up stage')} ({formatting.format_duration(duration_s)} in total) "
            "ran "
            "first; warm-up requests are excluded from all numbers."
        )
    return tuple(sentences)


def _describe_sending(load_stages: list[Stage], closed_stages: list[Stage], spec: MethodSpec) -> Iterator[str]:
    """Yield sentences about how requests were sent: in an open loop, in a closed loop, and with a
    changing rate in each stage that has one."""
    if len(closed_stages) < len(load_stages):
        names_text = " and ".join(_ARRIVAL_NAMES.get(name, name) for name in spec.arrivals)
        arrivals_text = f"{names_text} arrivals" if names_text else "scheduled arrivals"
        seed_text = f", seed {spec.seed}" if spec.seed is not None else ""
        yield (
            f"Load was open loop ({arrivals_text}{seed_text}): each request was sent at its scheduled time, without "
            "waiting for earlier responses."
        )
    if closed_stages:
        yield (
            f"In {format_count_noun(len(closed_stages), 'stage')}, load was closed loop: each client sends its next "
            "request "
            "after the previous response, so a slower target receives fewer requests."
        )
    for stage in load_stages:
        if stage.arrivals is not None and STAGE_KINDS[stage.kind].has_changing_rate:
            yield f"Stage {stage.label} had these arrivals: {stage.arrivals}."


def _describe_latency_times(load_stages: list[Stage]) -> Iterator[str]:
    measured_metrics = {
        name for stage in load_stages for name, estimates in stage.metrics.items() if _has_value(estimates)
    }
    if "latency_ms" in measured_metrics or not any(stage.completed for stage in load_stages):
        yield (
            "Latency runs from the scheduled start to the end of the response, so it includes delays of the target and "
            "of the load generator; service time starts at the send."
        )
    else:
        yield (
            "Locust does not report the scheduled start of a request, so times start at the send: service time is "
            "available, latency is not."
        )
    if "ttft_ms" in measured_metrics:
        yield (
            "For streams, TTFT runs from the scheduled start to the first non-empty delta, a response ends at its last "
            "token, and TPOT is the time from the first to the last token divided by the number of tokens after the "
            "first."
        )


def _describe_send_lag(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return a sentence about the send lag (p50, p99 and maximum); empty if the scheduled starts
    are unknown.

    Each of these values is the highest value of all headline stages.
    """
    lag_estimates = [stage.metrics.get("send_lag_ms", {}) for stage in stages]
    lag_texts = []
    for aggregate, label in (("p50", "p50"), ("p99", "p99"), ("max", "max")):
        values_ms = [estimates[aggregate].value for estimates in lag_estimates if aggregate in estimates]
        worst_ms = max((value for value in values_ms if value is not None), default=None)
        if worst_ms is not None:
            lag_texts.append(f"{formatting.format_duration(max(0.0, worst_ms) / 1e3)} ({label})")
    return (f"Send lag after the scheduled start was {', '.join(lag_texts)}.",) if lag_texts else ()


def _has_value(estimates: dict[str, Estimate]) -> bool:
    return any(estimate.value is not None for estimate in estimates.values())


def _describe_search(load_stages: list[Stage]) -> tuple[str, ...]:
    """Return a sentence about how the search found the max rate; empty without a search.

    The number of steady-state steps includes steps that missed the SLO, because the search then
    lowers the rate until a rate meets the SLO.
    """
    probes = [stage for stage in load_stages if stage.kind == "probe"]
    steady_steps = [stage for stage in load_stages if stage.kind == "step" and not stage.is_pooled]
    if not probes:
        return ()
    failed_count = sum(stage.meets_slo is False for stage in probes)
    search_text = (
        f"The search for the max rate used {format_count_noun(len(probes), 'probe')} ({failed_count} missed the SLO "
        "and are "
        "part of the curve)"
    )
    if not steady_steps:
        return (f"{search_text}.",)
    duration_s = float(np.median([stage.window.end_ns - stage.window.start_ns for stage in steady_steps])) / 1e9
    rate_count = len(Counter(stage.name for stage in steady_steps))
    return (
        f"{search_text}, first doubling the rate, then bisecting. The result is based on "
        f"{format_count_noun(len(steady_steps), 'steady-state step')} of {formatting.format_duration(duration_s)} at "
        f"{format_count_noun(rate_count, 'rate')}.",
    )


def _describe_statistics(result: Result) -> tuple[str, ...]:
    if not result.stages:
        return ()
    is_generation = any(TEST_TAG in stage.tags for stage in result.stages)
    noun = "request" if result.local is None else "step" if is_generation else "call"
    return (
        f"Percentiles are exact, computed from the times of all {noun}s; those with too few samples are omitted. "
        f"Intervals are 95{formatting.THIN_SPACE}% CIs from order statistics, widened for autocorrelation between "
        f"{noun}s.",
    )


def _describe_telemetry(telemetry: pd.DataFrame) -> tuple[str, ...]:
    if telemetry.empty:
        return ()
    times_s = np.unique(telemetry["at_ns"].to_numpy()) / 1e9
    sources_text = ", ".join(sorted({source.partition("/")[0] for source in telemetry["source"].unique()}))
    if len(times_s) < 2:
        return (f"Telemetry was sampled once ({sources_text}).",)
    period_text = formatting.format_duration(float(np.median(np.diff(times_s))))
    return (
        f"Telemetry was sampled {formatting.format_count(len(times_s))} times, every {period_text} ({sources_text}).",
    )


def _describe_clock_drift(result: Result) -> str:
    clock_ratio = result.clock.wall_to_monotonic_ratio
    sentence = describe_clock(result.stages)
    if clock_ratio is None:
        return f"{sentence}."
    drift_ppm = abs(clock_ratio - 1) * 1e6
    return f"{sentence}; the wall clock drifted by {formatting.format_number(drift_ppm)} ppm relative to it."


def _describe_selftest(result: Result) -> str:
    selftest = result.selftest
    if selftest is None:
        return "No self-test was run on this machine. Run `sizewise selftest` (1 min) to verify the load generator."
    outcome_text, failed_text = ("passed", "") if selftest.passed else ("FAILED", f": {' and '.join(selftest.failed)}")
    return f"Load generator self-test {selftest.id} {outcome_text} on {selftest.at[:10]}{failed_text}."


def _as_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
