"""Estimate the work that a profile requests: stages, duration, requests, tokens and cost. Nothing
is sent or measured.

The token counts of prompts and responses are generated from the seed of the profile, as in a run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from app.analysis.objectives import count_needed_slo_samples
from app.analysis.search import RateSearch
from app.analysis.warmup import MAX_WINDOWS
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.local import LocalProfile, is_concurrent
from app.profiles.pricing.catalog import find_offer
from app.profiles.profile import Profile
from app.profiles.units import format_duration
from app.records.offers import Catalog
from app.records.planned_work import PlannedSearch, PlannedWork
from app.records.result import Objective
from app.records.search import SearchSpec
from app.session.idle_latency import MAX_IDLE_S, MAX_MEASUREMENTS
from app.session.local.variant_stages import MAX_PROBES
from app.session.rate_search import MAX_PROBE_DRAIN_S, compute_probe_duration_s, next_probe
from app.session.spec import StageSpec
from app.session.warmup import MAX_DRAIN_S
from app.wiring.local_spec import build_scenarios
from app.wiring.stages import build_stages
from app.wiring.workload import build_workload
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import draw_session_lengths
from loadgen.records import ClosedArrivals, OpenArrivals, TraceArrivals
from loadgen.workloads import (
    DatasetPrompts,
    MixedWorkload,
    OpenAiWorkload,
    SessionPrompts,
    SyntheticPrompts,
    TracePrompts,
)

_MAX_SESSIONS = 5_000
"""Maximum number of sampled sessions. A larger sample would take seconds without improving the
estimate."""
_MIX_SAMPLE_COUNT = 5_000


class PromptLengths(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the requests of a profile, with one entry per request. Input counts include
    shared prefixes and earlier turns.

    `output_tokens` is empty if the profile does not set the response length. `reason` states why
    the token counts are unknown; `None` if they are known.
    """

    input_tokens: tuple[int, ...] = ()
    output_tokens: tuple[int, ...] = ()
    requests_per_session: float = 1.0
    distinct_prompts: int = 0
    """Number of distinct prompts or sessions. A longer run repeats them in the same order."""
    reason: str | None = None


def sample_prompt_lengths(profile: EndpointProfile) -> PromptLengths:
    """Return the token counts of the prompts and responses of a profile. Raises UsageError for
    invalid files."""
    workload = build_workload(profile)
    if isinstance(workload, MixedWorkload):
        return _sample_mix(workload)
    assert isinstance(workload, OpenAiWorkload)
    return _sample_workload(workload)


def _sample_mix(mix: MixedWorkload) -> PromptLengths:
    """Return the token counts of a mix, in which each class has its share of the requests."""
    parts: list[PromptLengths] = []
    for request_class in mix.classes:
        assert isinstance(request_class.workload, OpenAiWorkload)
        parts.append(_sample_workload(request_class.workload))
        if parts[-1].reason is not None:
            return PromptLengths(reason=f"class {request_class.name}: {parts[-1].reason}")
    total_weight = sum(request_class.weight for request_class in mix.classes)
    request_shares = [
        request_class.weight / total_weight * part.requests_per_session
        for request_class, part in zip(mix.classes, parts, strict=True)
    ]
    counts = [max(1, round(_MIX_SAMPLE_COUNT * share / sum(request_shares))) for share in request_shares]
    has_outputs = all(part.output_tokens for part in parts)
    return PromptLengths(
        input_tokens=tuple(
            tokens
            for part, count in zip(parts, counts, strict=True)
            for tokens in np.resize(np.array(part.input_tokens), count).tolist()
        ),
        output_tokens=tuple(
            tokens
            for part, count in zip(parts, counts, strict=True)
            for tokens in np.resize(np.array(part.output_tokens), count).tolist()
        )
        if has_outputs
        else (),
        requests_per_session=sum(request_shares),
        distinct_prompts=sum(part.distinct_prompts for part in parts),
    )


def _sample_workload(workload: OpenAiWorkload) -> PromptLengths:
    match workload.prompts:
        case SyntheticPrompts() as prompts:
            texts_per_request = 1 + workload.documents if workload.api == "rerank" else 1
            return _sample_lengths(prompts, workload.seed, texts_per_request)
        case TracePrompts() as trace:
            input_tokens, output_tokens = (
                np.maximum(np.frombuffer(data, "<i4"), 1).tolist() for data in (trace.input_tokens, trace.output_tokens)
            )
            return PromptLengths(
                input_tokens=tuple(input_tokens), output_tokens=tuple(output_tokens), distinct_prompts=len(input_tokens)
            )
        case SessionPrompts():
            return PromptLengths(reason="the token counts of recorded sessions depend on the server's responses")
        case DatasetPrompts():
            return PromptLengths(reason="the token counts of the dataset are unknown without a tokenizer")


def _sample_lengths(prompts: SyntheticPrompts, seed: int, texts_per_request: int) -> PromptLengths:
    input_tokens: list[int] = []
    output_tokens: list[int] = []
    session_count = min(prompts.unique, _MAX_SESSIONS)
    request_count = 0
    prefix_tokens = prompts.prefix_tokens if prompts.prefix_groups else 0
    try:
        for session in itertools.islice(
            draw_session_lengths(prompts, seed, texts_per_prompt=texts_per_request), session_count
        ):
            input_lengths, output_lengths = session.list_message_tokens(), session.output_tokens
            request_count += len(output_lengths)
            output_tokens += [tokens for tokens in output_lengths if tokens is not None]
            if len(output_lengths) == 1:
                input_tokens.append(prefix_tokens + sum(input_lengths))
                continue
            context_tokens, lengths = prefix_tokens, zip(input_lengths, output_lengths, strict=True)
            for width in session.widths:
                # The next turn continues the first request of this turn, and contains all responses.
                turn = list(itertools.islice(lengths, width))
                input_tokens += [context_tokens + tokens_in for tokens_in, _ in turn]
                context_tokens += turn[0][0] + sum(tokens_out or 0 for _, tokens_out in turn)
    except LengthError as error:
        return PromptLengths(reason=str(error))
    return PromptLengths(
        input_tokens=tuple(input_tokens),
        output_tokens=tuple(output_tokens),
        requests_per_session=request_count / session_count,
        distinct_prompts=prompts.unique,
    )


_EXPECTED_WINDOW_COUNT = 3
_ASSUMED_FACTORS = (1.0, 4.0, 30.0, 250.0)
"""Max rates that the estimate of a search assumes, as multiples of the start rate of the search."""


def estimate_work(profile: Profile, catalog: Catalog) -> PlannedWork:
    """Estimate the work that a profile requests. Generating prompt lengths may take 0.1 s."""
    if isinstance(profile, LocalProfile):
        return _estimate_local_work(profile, catalog)
    return _estimate_endpoint_work(profile, catalog)


def _estimate_endpoint_work(profile: EndpointProfile, catalog: Catalog) -> PlannedWork:
    load, total_timeout_s = profile.load, profile.target.timeouts.total_s
    stages = build_stages(load)
    search = None if load.search is None else estimate_search(load.search, profile.complete_slo, total_timeout_s)
    window_s = load.warmup_s / _EXPECTED_WINDOW_COUNT
    total_stage_s = sum(stage.load.total_duration_s for stage in stages)
    duration_s = load.warmup_s + total_stage_s + (0.0 if search is None else search.duration_s[0])
    max_duration_s = MAX_WINDOWS * (window_s + min(MAX_DRAIN_S, total_timeout_s)) if load.warmup_s else 0.0
    if search is not None:
        max_duration_s += MAX_MEASUREMENTS * (MAX_IDLE_S + min(MAX_DRAIN_S, total_timeout_s))
    max_duration_s += total_stage_s + len(stages) * total_timeout_s + (0.0 if search is None else search.duration_s[1])
    expected_requests = [_estimate_requests(stage) for stage in stages]
    work = PlannedWork(
        stages=len(stages),
        duration_s=duration_s,
        max_duration_s=max_duration_s,
        requests=sum(count for count in expected_requests if count is not None),
        closed_stages=sum(
            isinstance(stage.load.arrivals, ClosedArrivals) and stage.load.max_requests is None for stage in stages
        ),
        relative_stages=sum(stage.rate_share is not None for stage in stages),
        search=search,
    )
    return _add_cost(_apply_limits(_add_tokens(work, profile), profile), profile, catalog)


def _estimate_requests(stage: StageSpec) -> float | None:
    """Return the expected number of requests of a stage; `None` if the number depends on responses
    or on an earlier stage."""
    load = stage.load
    if load.max_requests is not None:
        return load.max_requests
    match load.arrivals:
        case TraceArrivals(offsets_ns=offsets):
            offsets_s = np.frombuffer(offsets, "<i8") / 1e9
            return float(np.count_nonzero(offsets_s < load.duration_s))
        case OpenArrivals(rates=rates) if stage.rate_share is None:
            end_s = max(load.duration_s, rates[-1][0])
            points = [*rates, (end_s, rates[-1][1])]
            requests = sum(
                (stop_s - start_s) * (start_rate + stop_rate) / 2
                for (start_s, start_rate), (stop_s, stop_rate) in itertools.pairwise(points)
            )
            return requests + load.lead_in_s * rates[0][1]
        case _:
            return None


def estimate_search(search_spec: SearchSpec, slo: tuple[Objective, ...], total_timeout_s: float) -> PlannedSearch:
    """Estimate the work of a search for the max rate, by simulating the search for several assumed
    max rates."""
    simulations = [
        _simulate_search(search_spec, slo, total_timeout_s, search_spec.start_per_s * factor)
        for factor in _ASSUMED_FACTORS
    ]
    probe_counts, durations_s, request_counts = zip(*simulations, strict=True)
    return PlannedSearch(
        probes=(min(probe_counts), max(probe_counts)),
        duration_s=(min(durations_s), max(durations_s)),
        requests=(min(request_counts), max(request_counts)),
        assumed_per_s=(search_spec.start_per_s * _ASSUMED_FACTORS[0], search_spec.start_per_s * _ASSUMED_FACTORS[-1]),
    )


def _simulate_search(
    search_spec: SearchSpec, slo: tuple[Objective, ...], total_timeout_s: float, sustained_per_s: float
) -> tuple[int, float, float]:
    probes = list(_iterate_probes(search_spec, slo, sustained_per_s))
    total_drain_s = len(probes) * min(MAX_PROBE_DRAIN_S, total_timeout_s)
    request_count = math.fsum(rate * duration_s for rate, duration_s in probes)
    return len(probes), math.fsum(duration_s for _, duration_s in probes) + total_drain_s, request_count


def simulate_probes(search_spec: SearchSpec, slo: tuple[Objective, ...], sustained_per_s: float) -> tuple[float, ...]:
    """Return the rates that a search tries, in order, if the max rate of the server is
    `sustained_per_s`."""
    return tuple(rate for rate, _ in _iterate_probes(search_spec, slo, sustained_per_s))


def _iterate_probes(
    search_spec: SearchSpec, slo: tuple[Objective, ...], sustained_per_s: float
) -> Iterator[tuple[float, float]]:
    """Yield the rate and the duration in s of each stage of a search."""
    search = RateSearch(search_spec.start_per_s, search_spec.repeats)
    elapsed_s = 0.0
    while (probe := next_probe(search, search_spec, slo, elapsed_s)) is not None:
        duration_s = compute_probe_duration_s(search, probe, search_spec, slo, elapsed_s)
        yield probe.rate_per_s, duration_s
        elapsed_s += duration_s
        is_too_short = probe.rate_per_s * duration_s < count_needed_slo_samples(slo)
        if is_too_short and probe.rate_per_s <= sustained_per_s:
            search.record_undecided(probe)
        else:
            search.record_result(probe, probe.rate_per_s <= sustained_per_s)


def _add_tokens(work: PlannedWork, profile: EndpointProfile) -> PlannedWork:
    if not profile.protocol.has_prompt_lengths:
        return work
    lengths = sample_prompt_lengths(profile)
    if lengths.reason is not None:
        return msgspec.structs.replace(work, tokens_reason=lengths.reason)
    session_count = work.requests or 0.0
    return msgspec.structs.replace(
        work,
        requests=session_count * lengths.requests_per_session,
        tokens_in=session_count * lengths.requests_per_session * _compute_mean(lengths.input_tokens),
        tokens_out=session_count * lengths.requests_per_session * _compute_mean(lengths.output_tokens)
        if lengths.output_tokens
        else None,
        tokens_reason=None if lengths.output_tokens else "the workload does not set a response length",
    )


def _compute_mean(lengths: Iterable[int]) -> float:
    return float(np.mean(np.asarray(lengths)))


def _apply_limits(work: PlannedWork, profile: Profile) -> PlannedWork:
    """Apply the limits of the profile to the estimate, as far as they can be evaluated before the
    run."""
    limits = profile.limits
    work = msgspec.structs.replace(work, limits=tuple(_format_limits(profile)))
    if limits.duration_s is not None and limits.duration_s < work.max_duration_s:
        work = msgspec.structs.replace(work, max_duration_s=limits.duration_s)
        if limits.duration_s < work.duration_s:
            cut_reason = f"limits.duration ends the run after {format_duration(limits.duration_s)}"
            return msgspec.structs.replace(work, cut_after=cut_reason, duration_s=limits.duration_s)
    if isinstance(profile, LocalProfile) or profile.limits.requests is None:
        return work
    max_requests = profile.limits.requests
    if work.requests is not None and work.requests > max_requests:
        return msgspec.structs.replace(work, cut_after=f"limits.requests ends the run after {max_requests:,} requests")
    return work


def _format_limits(profile: Profile) -> Iterator[str]:
    if profile.limits.duration_s is not None:
        yield format_duration(profile.limits.duration_s)
    if isinstance(profile, LocalProfile):
        if profile.limits.memory_bytes is not None:
            yield f"{profile.limits.memory_bytes / 2**30:.3g} GiB"
        return
    if profile.limits.requests is not None:
        yield f"{profile.limits.requests:,} requests"
    if profile.limits.usd is not None:
        yield f"${profile.limits.usd:g}"


def _add_cost(work: PlannedWork, profile: Profile, catalog: Catalog) -> PlannedWork:
    hardware = profile.target.hardware
    if hardware is None or hardware.offer is None:
        reason = "the price is unknown: the target has no hardware offer"
        return msgspec.structs.replace(work, usd_reason=reason)
    usd_per_hour = find_offer(catalog, hardware.offer).on_demand_usd_per_hour
    if usd_per_hour is None:
        return msgspec.structs.replace(work, usd_reason=f"the catalog has no on-demand price for {hardware.offer}")
    expected_usd, max_usd = (usd_per_hour * duration_s / 3600 for duration_s in (work.duration_s, work.max_duration_s))
    limit_usd = None if isinstance(profile, LocalProfile) else profile.limits.usd
    if limit_usd is not None and expected_usd > limit_usd and work.cut_after is None:
        work = msgspec.structs.replace(work, cut_after=f"limits.usd ends the run after ${limit_usd:g}")
    return msgspec.structs.replace(
        work,
        usd=(expected_usd, max_usd) if limit_usd is None else (min(expected_usd, limit_usd), min(max_usd, limit_usd)),
    )


def _estimate_local_work(profile: LocalProfile, catalog: Catalog) -> PlannedWork:
    load, variants = profile.load, profile.target.all_variants
    stage_count = search_count = 0
    for variant in variants:
        for scenario in build_scenarios(profile):
            if scenario.scenario == "multi-stream" and not is_concurrent(variant):
                continue
            stage_count += 1
            search_count += scenario.is_max_search
    max_stage_count = stage_count - search_count + search_count * MAX_PROBES
    work = PlannedWork(
        stages=stage_count,
        variants=len(variants),
        duration_s=stage_count * load.min_duration_s + (max_stage_count - stage_count) * load.min_duration_s / 2,
        max_duration_s=max_stage_count * (load.warmup_s + load.max_duration_s),
    )
    return _add_cost(_apply_limits(work, profile), profile, catalog)
