"""How much a profile asks for: stages, time, requests, tokens, money. Nothing is sent, and nothing measured.

How long a profile's prompts and answers will be, in tokens: those that its seed draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from app.analysis.search import RateSearch
from app.profiles.local import LocalProfile, is_of_many
from app.profiles.pricing.catalogue import find_offer
from app.profiles.profile import EmbeddingsProfile, EndpointProfile, GeneratingProfile, Profile, RerankProfile
from app.profiles.units import format_duration
from app.records.offers import Catalogue
from app.records.planned_work import PlannedSearch, PlannedWork
from app.records.result import Objective
from app.session.local.variant_stages import MOST_PROBES
from app.session.rate_search import PROBE_DRAIN_S, hold_s, next_within
from app.session.spec import SearchSpec, StageSpec
from app.session.warmup import LONGEST_DRAIN_S, MOST_WINDOWS
from app.wiring.local_spec import scenarios_of
from app.wiring.stages import search_of, stages_of
from app.wiring.workload import workload_of
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import drawn_lengths
from loadgen.records import ClosedArrivals, OpenArrivals, TraceArrivals
from loadgen.workloads import DatasetPrompts, OpenAiWorkload, SyntheticPrompts, TracePrompts

_MOST_SESSIONS = 5_000
"""More would take seconds, and look the same."""


class PromptLengths(msgspec.Struct, frozen=True, kw_only=True):
    """One a request, with all that it holds: shared prefix and earlier turns too. No `outputs` where the profile leaves
    the length of answers to the model. `reason`: why nothing can be told."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    requests_a_session: float = 1.0
    unique: int = 0
    """Different prompts, or sessions, that take turns."""
    reason: str | None = None


def lengths_of_prompts(profile: GeneratingProfile | EmbeddingsProfile | RerankProfile) -> PromptLengths:
    """Raises UsageError for files that are not what they should be."""
    workload = workload_of(profile)
    assert isinstance(workload, OpenAiWorkload)
    match workload.prompts:
        case SyntheticPrompts() as prompts:
            texts = 1 + workload.documents if isinstance(profile, RerankProfile) else 1
            return _drawn(prompts, profile.load.seed, texts)
        case TracePrompts(input_tokens=inputs, output_tokens=outputs):
            asked, answered = (np.maximum(np.frombuffer(data, "<i4"), 1).tolist() for data in (inputs, outputs))
            return PromptLengths(inputs=tuple(asked), outputs=tuple(answered), unique=len(asked))
        case DatasetPrompts():
            return PromptLengths(reason="the lengths are those of the dataset's texts, which only a tokenizer can tell")


def _drawn(prompts: SyntheticPrompts, seed: int, texts: int) -> PromptLengths:
    inputs: list[int] = []
    outputs: list[int] = []
    sessions = min(prompts.unique, _MOST_SESSIONS)
    requests = 0
    prefix = prompts.prefix_tokens if prompts.prefix_groups else 0
    try:
        for asked, answered in itertools.islice(drawn_lengths(prompts, seed, texts=texts), sessions):
            requests += len(answered)
            outputs += [one for one in answered if one is not None]
            if len(answered) == 1:
                inputs.append(prefix + sum(asked))
                continue
            history = prefix
            for tokens_in, tokens_out in zip(asked, answered, strict=True):
                history += tokens_in
                inputs.append(history)
                history += tokens_out or 0
    except LengthError as error:
        return PromptLengths(reason=str(error))
    return PromptLengths(
        inputs=tuple(inputs), outputs=tuple(outputs), requests_a_session=requests / sessions, unique=prompts.unique
    )


_WINDOWS_EXPECTED = 3
_SUPPOSED = (1.0, 4.0, 30.0, 250.0)
"""Times the rate a search starts at: where the answer may lie."""


def planned_work(profile: Profile, catalogue: Catalogue) -> PlannedWork:
    """Of the profile as it stands; drawing its prompts' lengths may take a tenth of a second."""
    if isinstance(profile, LocalProfile):
        return _local(profile, catalogue)
    return _endpoint(profile, catalogue)


def _endpoint(profile: EndpointProfile, catalogue: Catalogue) -> PlannedWork:
    load, total_s = profile.load, profile.target.timeouts.total_s
    stages = stages_of(load)
    wanted = search_of(load.search)
    search = None if wanted is None else planned_search(wanted, profile.slo, total_s)
    window_s = load.warmup_s / _WINDOWS_EXPECTED
    stages_s = sum(stage.lasts_s for stage in stages)
    duration_s = load.warmup_s + stages_s + (0.0 if search is None else search.duration_s[0])
    at_most_s = MOST_WINDOWS * (window_s + min(LONGEST_DRAIN_S, total_s)) if load.warmup_s else 0.0
    at_most_s += stages_s + len(stages) * total_s + (0.0 if search is None else search.duration_s[1])
    known = [_requests(stage) for stage in stages]
    work = PlannedWork(
        stages=len(stages),
        duration_s=duration_s,
        at_most_s=at_most_s,
        requests=sum(one for one in known if one is not None),
        closed_stages=sum(isinstance(stage.arrivals, ClosedArrivals) for stage in stages),
        relative_stages=sum(stage.share_of is not None for stage in stages),
        search=search,
    )
    return _priced(_limited(_with_tokens(work, profile), profile), profile, catalogue)


def _requests(stage: StageSpec) -> float | None:
    """Expected, of arrivals that wait for no answer; None where answers, or an earlier stage, decide."""
    match stage.arrivals:
        case TraceArrivals(offsets_ns=offsets):
            at_s = np.frombuffer(offsets, "<i8") / 1e9
            return float(np.count_nonzero(at_s < stage.duration_s))
        case OpenArrivals(rates=rates) if stage.share_of is None:
            last_s = max(stage.duration_s, rates[-1][0])
            points = [*rates, (last_s, rates[-1][1])]
            area = sum((end - start) * (first + last) / 2 for (start, first), (end, last) in itertools.pairwise(points))
            return area + stage.lead_in_s * rates[0][1]
        case _:
            return None


def planned_search(wanted: SearchSpec, slo: tuple[Objective, ...], longest_answer_s: float) -> PlannedSearch:
    """By searching servers that carry a known rate and not one request a second more."""
    plays = [_played(wanted, slo, longest_answer_s, wanted.start_per_s * factor) for factor in _SUPPOSED]
    probes, durations_s, requests = zip(*plays, strict=True)
    return PlannedSearch(
        probes=(min(probes), max(probes)),
        duration_s=(min(durations_s), max(durations_s)),
        requests=(min(requests), max(requests)),
        supposed_per_s=(wanted.start_per_s * _SUPPOSED[0], wanted.start_per_s * _SUPPOSED[-1]),
    )


def _played(
    wanted: SearchSpec, slo: tuple[Objective, ...], longest_answer_s: float, carried_per_s: float
) -> tuple[int, float, float]:
    tried = probes_of(wanted, slo, carried_per_s)
    holds_s = [hold_s(wanted.hold_s, rate, slo) for rate in tried]
    drains_s = len(tried) * min(PROBE_DRAIN_S, longest_answer_s)
    sent = math.fsum(rate * held for rate, held in zip(tried, holds_s, strict=True))
    return len(tried), math.fsum(holds_s) + drains_s, sent


def probes_of(wanted: SearchSpec, slo: tuple[Objective, ...], carried_per_s: float) -> tuple[float, ...]:
    """The rates a search tries, one after another, of a server that carries so much and no more."""
    search = RateSearch(wanted.start_per_s, wanted.repeats)
    tried: list[float] = []
    elapsed_s = 0.0
    while (probe := next_within(search, wanted, slo, elapsed_s)) is not None:
        tried.append(probe.rate_per_s)
        search.record(probe, probe.rate_per_s <= carried_per_s)
        elapsed_s += hold_s(wanted.hold_s, probe.rate_per_s, slo)
    return tuple(tried)


def _with_tokens(work: PlannedWork, profile: EndpointProfile) -> PlannedWork:
    if not isinstance(profile, GeneratingProfile | EmbeddingsProfile | RerankProfile):
        return work
    lengths = lengths_of_prompts(profile)
    if lengths.reason is not None:
        return msgspec.structs.replace(work, tokens_reason=lengths.reason)
    sessions = work.requests or 0.0
    return msgspec.structs.replace(
        work,
        requests=sessions * lengths.requests_a_session,
        tokens_in=sessions * lengths.requests_a_session * _mean(lengths.inputs),
        tokens_out=sessions * lengths.requests_a_session * _mean(lengths.outputs) if lengths.outputs else None,
        tokens_reason=None if lengths.outputs else "workload does not say how long answers are",
    )


def _mean(lengths: Iterable[int]) -> float:
    return float(np.mean(np.asarray(lengths)))


def _limited(work: PlannedWork, profile: Profile) -> PlannedWork:
    """What ends it before it is done, as far as that is known."""
    limits = profile.limits
    work = msgspec.structs.replace(work, limits=tuple(_limits_in_words(profile)))
    if limits.duration_s is not None and limits.duration_s < work.at_most_s:
        work = msgspec.structs.replace(work, at_most_s=limits.duration_s)
        if limits.duration_s < work.duration_s:
            after = f"limits.duration ends it after {format_duration(limits.duration_s)}"
            return msgspec.structs.replace(work, cut_after=after, duration_s=limits.duration_s)
    if isinstance(profile, LocalProfile) or profile.limits.requests is None:
        return work
    most = profile.limits.requests
    if work.requests is not None and work.requests > most:
        return msgspec.structs.replace(work, cut_after=f"limits.requests ends it after {most:,} requests")
    return work


def _limits_in_words(profile: Profile) -> Iterator[str]:
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


def _priced(work: PlannedWork, profile: Profile, catalogue: Catalogue) -> PlannedWork:
    hardware = profile.target.hardware
    if hardware is None or hardware.offer is None:
        reason = "no price is known: target.hardware names no offer"
        return msgspec.structs.replace(work, usd_reason=reason)
    usd_per_hour = find_offer(catalogue, hardware.offer).on_demand_usd_per_hour
    if usd_per_hour is None:
        return msgspec.structs.replace(work, usd_reason=f"the catalogue has no on-demand price of {hardware.offer}")
    usual, most = (usd_per_hour * lasting_s / 3600 for lasting_s in (work.duration_s, work.at_most_s))
    limit = None if isinstance(profile, LocalProfile) else profile.limits.usd
    if limit is not None and usual > limit and work.cut_after is None:
        work = msgspec.structs.replace(work, cut_after=f"limits.usd ends it after ${limit:g}")
    return msgspec.structs.replace(work, usd=(usual, most) if limit is None else (min(usual, limit), min(most, limit)))


def _local(profile: LocalProfile, catalogue: Catalogue) -> PlannedWork:
    load, variants = profile.load, profile.target.all_variants
    stages = searched = 0
    for variant in variants:
        for order in scenarios_of(profile):
            if order.scenario == "multi-stream" and not is_of_many(variant):
                continue
            stages += 1
            searched += order.finds_most
    most = stages - searched + searched * MOST_PROBES
    work = PlannedWork(
        stages=stages,
        variants=len(variants),
        duration_s=stages * load.at_least_s + (most - stages) * load.at_least_s / 2,
        at_most_s=most * (load.warmup_s + load.at_most_s),
    )
    return _priced(_limited(work, profile), profile, catalogue)
