"""Token services for the simulation that nobody measured: from a model's shape, or from another card's measurement."""

from __future__ import annotations

import math

import msgspec

from app.planning.extrapolation import Ratio, carry_to
from app.planning.llm import SIGMA_ASSUMED, Deployment, decode_step_s, prefill_s, speeds_of
from app.planning.memory import kv_bytes, plan_memory, usable_bytes
from app.planning.rates import card_name
from app.planning.refusal import Refusal
from app.planning.risk import Risk
from app.records.estimate import Basis
from app.records.language_model import Engine
from app.records.offers import Accelerator
from app.records.service import NO_LIMIT, TokenService


class UnmeasuredService(msgspec.Struct, frozen=True):
    """`sigma` is the log-normal sigma of all its times together."""

    service: TokenService
    basis: Basis
    sigma: float
    risks: tuple[Risk, ...]


class Replicated(msgspec.Struct, frozen=True):
    """What has to be known of a measured replica to move it: `weight_bytes` of the whole model, over `degree` cards."""

    weight_bytes: float
    dtype: str
    degree: int = 1
    engine: Engine = Engine()
    host_s: float = 0.0
    """The part of a step that no card shortens."""


def assumed_service(deployment: Deployment) -> UnmeasuredService | Refusal:
    """The step law through a step with one sequence and one with the largest batch.

    Between the two it is a little slow where compute takes over, and a little fast for a mixture of experts.
    """
    speeds = speeds_of(deployment)
    if isinstance(speeds, Refusal):
        return speeds
    memory = plan_memory(deployment.model, deployment.card, deployment.precision, deployment.degree, deployment.engine)
    if isinstance(memory, Refusal):
        return memory
    tokens = max(1.0, deployment.input_tokens + deployment.output_tokens / 2)
    kv_token_bytes = kv_bytes(deployment.model, tokens, deployment.precision.kv, deployment.degree) / tokens
    kv_tokens = math.floor(memory.kv_pool_bytes / kv_token_bytes) if kv_token_bytes else NO_LIMIT
    most = min(deployment.engine.max_sequences, math.floor(kv_tokens / tokens))
    if most < 1:
        return Refusal("memory", f"no sequence of {tokens:.0f} tokens fits beside the weights")
    per_kv_token_s = kv_token_bytes / speeds.memory_bytes_per_s
    first, last = (decode_step_s(deployment, speeds, batch) - batch * tokens * per_kv_token_s for batch in (1, most))
    per_sequence_s = max(0.0, (last - first) / (most - 1)) if most > 1 else 0.0
    prompt_tokens = max(1.0, deployment.input_tokens * (1 - deployment.prefix_hit))
    service = TokenService(
        step_s=first - per_sequence_s,
        per_sequence_s=per_sequence_s,
        prefill_s_per_token=prefill_s(deployment, speeds) / prompt_tokens,
        max_sequences=deployment.engine.max_sequences,
        kv_tokens=kv_tokens,
        chunk_tokens=deployment.engine.chunk_tokens,
        per_kv_token_s=per_kv_token_s,
    )
    risk = Risk(3, f"nothing was measured: times are by arithmetic from the data sheet of {card_name(deployment.card)}")
    return UnmeasuredService(service, "assumed", SIGMA_ASSUMED, (risk,))


def carry_service(
    service: TokenService, measured: Accelerator, other: Accelerator, replicated: Replicated
) -> UnmeasuredService | Refusal:
    """A measured service on another card, as many of them to a replica.

    Weights and cache go at the ratio of decode; prompts and what each sequence adds, at that of saturated work.
    """
    reading = carry_to(measured, other, "decode", replicated.dtype, "throughput")
    computing = carry_to(measured, other, "saturated", replicated.dtype, "throughput")
    if isinstance(reading, Refusal):
        return reading
    if isinstance(computing, Refusal):
        return computing
    room = _room(replicated, measured, other)
    if isinstance(room, Refusal):
        return room
    carried = msgspec.structs.replace(
        service,
        step_s=replicated.host_s + max(0.0, service.step_s - replicated.host_s) / reading.factor,
        per_kv_token_s=service.per_kv_token_s / reading.factor,
        per_sequence_s=service.per_sequence_s / computing.factor,
        prefill_s_per_token=service.prefill_s_per_token / computing.factor,
        kv_tokens=math.floor(service.kv_tokens * room),
    )
    worst = max(reading, computing, key=_sigma)
    basis: Basis = "measured" if measured.key == other.key else "extrapolated"
    return UnmeasuredService(carried, basis, worst.sigma, worst.risks)


def _sigma(ratio: Ratio) -> float:
    return ratio.sigma


def _room(replicated: Replicated, measured: Accelerator, other: Accelerator) -> float | Refusal:
    """How many times the cache the other card has, from what its memory has left beside the weights."""
    left = []
    for card in (measured, other):
        usable = usable_bytes(card)
        if isinstance(usable, Refusal):
            return usable
        left.append(replicated.engine.utilisation * usable * replicated.degree - replicated.weight_bytes)
    here, there = left
    if there <= 0:
        cards = "one" if replicated.degree == 1 else str(replicated.degree)
        return Refusal(
            "memory", f"weights of {replicated.weight_bytes / 2**30:.1f} GiB do not fit {cards} {card_name(other)}"
        )
    if here <= 0:
        return Refusal(
            "measured_memory",
            f"weights of {replicated.weight_bytes / 2**30:.1f} GiB cannot have been on {replicated.degree} "
            f"{card_name(measured)}: correct the description of the measured replica",
        )
    return there / here
