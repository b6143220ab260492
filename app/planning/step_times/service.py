"""Service model of a server that nobody measured, with the uncertainty of its times."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from app.planning.hardware.rates import Unavailable
from app.planning.step_times.closed_loop import MEAN_LENGTH
from app.planning.step_times.estimate import FittedEvidence
from app.planning.step_times.intervals import METRICS, Z_LEVEL, Novelty
from app.planning.step_times.model import STEP_TERMS, ClosedLoops
from app.planning.step_times.positive_sum import Floats, PositiveSum
from app.planning.step_times.terms import PREFILL_TERMS, Server, build_server_table
from app.records.service import TokenService

_FIXED = ("weights", "layer", "expert_layer", "latent_layer", "reduce_latency", "exchange_latency")
_BY_SEQUENCE = ("arithmetic", "expert_arithmetic", "reduce", "exchange", "sequence")
_BY_CACHED_TOKEN = ("kv", "latent_attention")
_BY_EXPERT = ("experts", "started_expert")
_BY_PROMPT_TOKEN = tuple(term.name for term in PREFILL_TERMS if term.name != "prefill_experts")
_MIN_ARITHMETIC = 1 / 0.7
"""Least time that the arithmetic of a prompt takes, relative to that at the peak of the data sheet. Some published
servers seem to be faster; they must have had a prefix cache."""
_TYPICAL_CLIENTS = 32.0
"""Number of clients at which the spread of errors is taken."""
_TYPICAL_BATCH = 16.0


class ServerSettings(msgspec.Struct, frozen=True):
    """Limits of the engine of a replica: see `TokenService`."""

    max_sequences: int
    kv_tokens: int
    chunk_tokens: int


class EstimatedService(msgspec.Struct, frozen=True):
    """Service model of a server, with the medians of its times.

    `tpot_sigma` and `ttft_sigma` are the standard deviations of the logarithms of mean TPOT and TTFT; `novelties` is
    what the evidence does not have of the server.
    """

    service: TokenService
    tpot_sigma: float
    ttft_sigma: float
    novelties: tuple[Novelty, ...]
    own_points: int = 0
    """Number of the user's own measurements by which the times are corrected."""
    ignored_ratio: float | None = None
    """Measured time that is furthest off, relative to the expected one, if measurements were too far off to be used;
    otherwise None."""


def estimate_services(
    evidence: FittedEvidence,
    servers: Sequence[tuple[Server, ServerSettings]],
    input_tokens: float,
    output_tokens: float,
    prefix_cached_share: float = 0.0,
) -> tuple[EstimatedService, ...] | Unavailable:
    """Build the service models of servers with prompts and responses of these mean lengths, of whose prompts the prefix
    cache has the share `prefix_cached_share`.

    The service models count all input tokens as tokens of a prompt: a cached token takes no time in them, and a step
    takes as many more prompt tokens as are cached. Return `Unavailable` if a figure of an accelerator is unknown.
    """
    table = build_server_table([server for server, _ in servers])
    if isinstance(table, Unavailable):
        return table
    one = np.ones(len(servers))
    typical = ClosedLoops(
        table,
        one * input_tokens / MEAN_LENGTH,
        one * output_tokens / MEAN_LENGTH,
        one * _TYPICAL_CLIENTS,
        prefix_cached_share,
    )
    alone = dataclasses.replace(typical, clients=one)
    steps = _sum_terms(evidence.model.tpot, alone, alone.compute_tpot_terms(one))
    firsts = _sum_terms(evidence.model.ttft, alone, alone.compute_ttft_terms(one, one, one))
    arithmetic = [term.name in ("prefill_arithmetic", "prefill_expert_arithmetic") for term in PREFILL_TERMS]
    least_s = _MIN_ARITHMETIC * alone.compute_prefill_terms(one)[:, arithmetic].sum(axis=1)
    estimate, novelties = evidence.estimate(typical, is_planned=True), evidence.find_novelties(typical)
    sigmas = {metric: np.log(estimate.p90[metric] / estimate.p10[metric]) / (2 * Z_LEVEL) for metric in METRICS}
    return tuple(
        EstimatedService(
            _build_service(
                server,
                msgspec.structs.replace(
                    settings, chunk_tokens=math.floor(settings.chunk_tokens / (1 - prefix_cached_share))
                ),
                steps[index],
                firsts[index],
                float(least_s[index]),
                (input_tokens, output_tokens),
            ),
            float(sigmas["tpot"][index]),
            float(sigmas["ttft"][index]),
            novelties[index],
        )
        for index, (server, settings) in enumerate(servers)
    )


def _build_service(
    server: Server,
    settings: ServerSettings,
    step: Mapping[str, float],
    first: Mapping[str, float],
    least_prompt_s: float,
    lengths: tuple[float, float],
) -> TokenService:
    """Build a service model from the seconds of the terms of TPOT (`step`) and of TTFT (`first`), both of a lone
    request."""
    input_tokens, output_tokens = lengths
    prompt_s = max(sum(step[name] for name in _BY_PROMPT_TOKEN) * output_tokens, least_prompt_s)
    expert_share = _compute_expert_share(server)
    context_tokens = input_tokens + output_tokens / 2
    service = TokenService(
        step_s=sum(step[name] for name in _FIXED),
        per_sequence_s=sum(step[name] for name in _BY_SEQUENCE),
        prefill_s_per_token=prompt_s / input_tokens,
        max_sequences=settings.max_sequences,
        kv_tokens=settings.kv_tokens,
        chunk_tokens=settings.chunk_tokens,
        per_kv_token_s=sum(step[name] for name in _BY_CACHED_TOKEN) / context_tokens,
        experts_s=sum(step[name] for name in _BY_EXPERT) / expert_share if expert_share else 0.0,
        expert_share=expert_share,
    )
    waited_steps = first[STEP_TERMS[server.served.engine][0]] - 1  # the simulation has one: that of the prompt
    step_s = service.compute_decode_step_s(_TYPICAL_BATCH, _TYPICAL_BATCH * context_tokens)
    alone_s = max(0.0, sum(first[name] for name in _BY_PROMPT_TOKEN) - prompt_s)
    return msgspec.structs.replace(service, outside_s=first["request"] + max(0.0, waited_steps) * step_s + alone_s)


def _sum_terms(fitted: PositiveSum, loops: ClosedLoops, terms: Floats) -> list[dict[str, float]]:
    """Return the seconds of each term of each server."""
    names = [term.name for term in fitted.terms]
    shares = fitted.compute_shares(loops.servers.columns, terms).tolist()
    return [dict(zip(names, row, strict=True)) for row in shares]


def _compute_expert_share(server: Server) -> float:
    shape = server.shape
    return (shape.experts_per_token or 0) / shape.experts if shape.experts else 0.0
