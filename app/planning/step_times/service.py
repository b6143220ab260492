"""Service model of a server that nobody measured, with the uncertainty of its times."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from scipy import stats

from app.planning.rates import Unavailable
from app.planning.step_times.closed_loop import MEAN_LENGTH
from app.planning.step_times.estimate import FittedEvidence
from app.planning.step_times.intervals import LEVELS, Novelty
from app.planning.step_times.model import STEP_TERMS, ClosedLoops, Metric
from app.planning.step_times.positive_sum import Floats, PositiveSum
from app.planning.step_times.terms import PREFILL_TERMS, Server, build_server_table, compute_prefill_terms
from app.records.service import TokenService

_FIXED = (
    "weights", "layer", "expert_layer", "latent_layer", "scaled_expert_layer", "reduce_latency", "exchange_latency",
)  # fmt: skip
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


def estimate_service(
    evidence: FittedEvidence, server: Server, input_tokens: float, output_tokens: float, settings: ServerSettings
) -> EstimatedService | Unavailable:
    """Build the service model of a server with prompts and responses of these mean lengths.

    Return `Unavailable` if a figure of the accelerator is unknown.
    """
    table = build_server_table([server])
    if isinstance(table, Unavailable):
        return table
    lengths = np.array([input_tokens]) / MEAN_LENGTH, np.array([output_tokens]) / MEAN_LENGTH
    one = np.ones(1)
    loops = ClosedLoops(table, *lengths, clients=one)
    step = _sum_terms(evidence.model.tpot, loops, loops.compute_tpot_terms(one))
    ttft = _sum_terms(evidence.model.ttft, loops, loops.compute_ttft_terms(one, one, one))
    prefill = compute_prefill_terms(table, loops.prompt_tokens, one)[0].tolist()
    least_s = sum(
        seconds
        for term, seconds in zip(PREFILL_TERMS, prefill, strict=True)
        if term.name in ("prefill_arithmetic", "prefill_expert_arithmetic")
    )
    prompt_s = max(sum(step[name] for name in _BY_PROMPT_TOKEN) * output_tokens, _MIN_ARITHMETIC * least_s)
    expert_share = _compute_expert_share(server)
    context_tokens = float(loops.context_tokens[0])
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
    steps = ttft[STEP_TERMS[server.served.engine][0]]  # the simulation has one of them: that of the prompt
    waited_s = max(0.0, steps - 1) * service.compute_decode_step_s(_TYPICAL_BATCH, _TYPICAL_BATCH * context_tokens)
    alone_s = max(0.0, sum(ttft[name] for name in _BY_PROMPT_TOKEN) - prompt_s)
    service = msgspec.structs.replace(service, outside_s=ttft["request"] + waited_s + alone_s)
    typical = ClosedLoops(table, *lengths, clients=np.full(1, _TYPICAL_CLIENTS))
    estimate = evidence.estimate(typical)
    sigmas: dict[Metric, float] = {}
    for metric in ("tpot", "ttft"):
        width = math.log(float(estimate.p90[metric][0] / estimate.p10[metric][0]))
        sigmas[metric] = width / float(stats.norm.ppf(LEVELS[1]) - stats.norm.ppf(LEVELS[0]))
    return EstimatedService(service, sigmas["tpot"], sigmas["ttft"], evidence.find_novelties(typical)[0])


def _sum_terms(fitted: PositiveSum, loops: ClosedLoops, terms: Floats) -> dict[str, float]:
    """Return the seconds of each term of a single server."""
    shares = fitted.compute_shares(loops.servers.columns, terms)[0].tolist()
    return dict(zip((term.name for term in fitted.terms), shares, strict=True))


def _compute_expert_share(server: Server) -> float:
    shape = server.shape
    return (shape.experts_per_token or 0) / shape.experts if shape.experts else 0.0
