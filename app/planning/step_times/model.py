"""TPOT and TTFT of published servers, from terms that are fitted to published measurements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from app.planning.step_times.closed_loop import MEAN_LENGTH, count_decoding, count_prompts_waited_for
from app.planning.step_times.positive_sum import Effect, Floats, Indices, PositiveSum, Term, fit_positive_sum
from app.planning.step_times.terms import (
    DECODE_TERMS,
    LAUNCH,
    MEMORY,
    OTHER,
    PREFILL,
    PREFILL_TERMS,
    ServerTable,
    compute_decode_terms,
    compute_prefill_terms,
)

CHUNK_TOKENS = {"vllm": 8192.0, "sglang": 16384.0, "trtllm": 8192.0}
"""Tokens of prompts that a step of a published server prefills at most."""
STEP_TERMS = {"vllm": ("vllm_steps", 2.0), "sglang": ("sglang_steps", 8.0), "trtllm": ("trtllm_steps", 8.0)}
"""Steps that a prompt of each engine waits besides its prefill: scheduling and streaming at intervals."""
STEPS = "steps"
BUSY_CLIENTS = 16.0
"""Number of clients from which published servers of SGLang look for new prompts every 30 steps instead of every 10."""
TTFT_TERMS = (
    Term("prefill_arithmetic", PREFILL, 1.6),
    Term("prefill_expert_arithmetic", PREFILL, 3.0),
    Term("prefill_attention", PREFILL, 4.0),
    Term("prefill_reduce", PREFILL, 1.5),
    Term("prefill_exchange", PREFILL, 1.5),
    Term("prompt", PREFILL, 1.0, 1e-3),
    Term("prefill_layer", PREFILL, 20.0, 1e-5),
    Term("prefill_experts", PREFILL, 1.3),
    *(Term(name, STEPS, prior) for name, prior in STEP_TERMS.values()),
    Term("sglang_busy_steps", STEPS, 8.0),
    Term("request", "request", 15.0, 1e-3),
    Term("queue", OTHER, 1.0),
)
_SHARED_BY_PROMPTS = ("prompt", "prefill_layer", "prefill_experts")
"""Terms of a step that prefills, whether it has one prompt or several."""

TPOT_EFFECTS = (
    Effect(("engine",), None, 0.06),
    Effect(("engine",), PREFILL, 0.18),
    Effect(("engine", "version"), LAUNCH, 0.07),
    Effect(("gpu",), MEMORY, 0.03),
    Effect(("generation", "precision"), MEMORY, 0.09),
    Effect(("generation", "precision", "kind"), LAUNCH, 0.16),
    Effect(("generation", "precision"), PREFILL, 0.065),
    Effect(("model", "engine"), PREFILL, 0.5),
    Effect(("model", "engine", "version"), None, 0.066),
    Effect(("model", "gpu"), None, 0.04),
    Effect(("source",), None, 0.06),
)
TTFT_EFFECTS = (
    Effect(("engine",), PREFILL, 0.25),
    Effect(("gpu",), PREFILL, 0.06),
    Effect(("generation", "precision"), PREFILL, 0.2),
    Effect(("model", "engine"), PREFILL, 0.1),
    Effect(("model", "engine", "version"), None, 0.3),
    Effect(("model", "engine", "version"), STEPS, 0.8),
    Effect(("engine", "version"), STEPS, 0.8),
    Effect(("model", "engine", "version", "accelerators"), STEPS, 1.0),
    Effect(("source",), None, 0.15),
)
_PRIOR_SIGMA = 0.3
_TPOT_NOISE, _TTFT_NOISE = 0.10, 0.15
_BATCH_ITERATIONS, _OUTER_ITERATIONS = 6, 2

Metric = Literal["tpot", "ttft"]


@dataclasses.dataclass(frozen=True)
class ClosedLoops:
    """Load on each server of a table: nominal lengths in tokens, and the number of clients. The prefix cache of each
    server has the share `prefix_cached_share` of each prompt."""

    servers: ServerTable
    input_tokens: Floats
    output_tokens: Floats
    clients: Floats
    prefix_cached_share: float = 0.0

    @property
    def prompt_tokens(self) -> Floats:
        return MEAN_LENGTH * self.input_tokens

    @property
    def prefilled_tokens(self) -> Floats:
        """Number of tokens of a prompt that the prefix cache does not have."""
        return self.prompt_tokens * (1 - self.prefix_cached_share)

    @property
    def response_tokens(self) -> Floats:
        return MEAN_LENGTH * self.output_tokens

    @property
    def context_tokens(self) -> Floats:
        """Mean number of tokens of a sequence that decodes."""
        return self.prompt_tokens + self.response_tokens / 2

    @property
    def cached(self) -> Floats:
        """Number of sequences that fit in the KV caches of all copies of attention."""
        return self.servers.count_cached_sequences(self.context_tokens) * self.servers.copies

    @property
    def max_prefilled(self) -> Floats:
        """Number of prompts that a step prefills at most."""
        chunk = np.array([CHUNK_TOKENS[engine] for engine in self.servers.columns["engine"]])
        return np.asarray(chunk * self.servers.copies / self.prefilled_tokens)

    def compute_prefill_terms(self, decoding: Floats) -> Floats:
        """Return the terms of the prefill of a prompt while `decoding` sequences decode."""
        prefix_tokens = self.prompt_tokens - self.prefilled_tokens
        return compute_prefill_terms(self.servers, self.prefilled_tokens, decoding, prefix_tokens)

    def compute_tpot_terms(self, decoding: Floats) -> Floats:
        """Return the terms of TPOT: of a decode step, and of the prefills that a token waits for."""
        decode = compute_decode_terms(self.servers, decoding, self.context_tokens)
        prefill = self.compute_prefill_terms(decoding)
        return np.hstack([decode, prefill * (decoding / self.response_tokens)[:, None]])

    def compute_ttft_terms(self, decoding: Floats, tpot_s: Floats, prefill_s: Floats) -> Floats:
        """Return the terms of TTFT, if a prefill takes `prefill_s`."""
        copies = self.servers.copies
        in_flight = np.minimum(self.clients, self.cached) / copies
        ahead = count_prompts_waited_for(in_flight, prefill_s, self.response_tokens * tpot_s)
        fill = np.minimum(1.0, self.prefilled_tokens / CHUNK_TOKENS["vllm"])
        prefill = self.compute_prefill_terms(np.zeros_like(decoding))
        shared = [term.name in _SHARED_BY_PROMPTS for term in PREFILL_TERMS]
        prefill[:, shared] *= np.where(np.array(shared)[shared], copies[:, None], 1.0)
        waits = np.where(np.array(shared)[None, :], (1 + ahead * fill)[:, None], (1 + ahead)[:, None])
        engines = np.array(self.servers.columns["engine"])
        steps = [np.where(engines == engine, tpot_s, 0.0) for engine in STEP_TERMS]
        queued = np.maximum(self.clients - self.cached, 0.0) / np.minimum(self.clients, self.cached)
        return np.hstack(
            [
                prefill * waits,
                np.column_stack(
                    [
                        *steps,
                        np.where((engines == "sglang") & (self.clients >= BUSY_CLIENTS), tpot_s, 0.0),
                        np.ones_like(tpot_s),
                        queued * self.response_tokens * tpot_s,
                    ]
                ),
            ]
        )


def select(loops: ClosedLoops, index: Indices) -> ClosedLoops:
    """Return the loops of some rows."""
    columns = {name: np.array(labels)[index].tolist() for name, labels in loops.servers.columns.items()}
    arrays = {
        field.name: getattr(loops.servers, field.name)[index]
        for field in dataclasses.fields(loops.servers)
        if field.name != "columns"
    }
    return ClosedLoops(
        ServerTable(columns=columns, **arrays),
        loops.input_tokens[index],
        loops.output_tokens[index],
        loops.clients[index],
        loops.prefix_cached_share,
    )


@dataclasses.dataclass(frozen=True)
class StepTimeModel:
    """Fitted models of TPOT and TTFT, in s."""

    tpot: PositiveSum
    ttft: PositiveSum

    def count_decoding(self, loops: ClosedLoops) -> Floats:
        return _count_decoding(self.tpot, loops)

    def predict(self, loops: ClosedLoops) -> Mapping[Metric, Floats]:
        """Return the mean TPOT and the mean TTFT that the clients of each loop would see, in s."""
        decoding = _count_decoding(self.tpot, loops)
        tpot_s = self.tpot.predict(loops.servers.columns, loops.compute_tpot_terms(decoding))
        prefill_s = _estimate_prefill(self.ttft, loops, decoding)
        terms = loops.compute_ttft_terms(decoding, tpot_s, prefill_s)
        return {"tpot": tpot_s, "ttft": self.ttft.predict(loops.servers.columns, terms)}


def _count_decoding(tpot: PositiveSum, loops: ClosedLoops) -> Floats:
    decoding = np.minimum(loops.clients, loops.cached)
    decode_terms = len(DECODE_TERMS)
    for _ in range(_BATCH_ITERATIONS):
        shares = tpot.compute_shares(loops.servers.columns, loops.compute_tpot_terms(decoding))
        prefill_s = shares[:, decode_terms:].sum(axis=1) * loops.response_tokens / decoding
        decoding = count_decoding(
            loops.clients,
            loops.cached,
            prefill_s,
            shares.sum(axis=1),
            loops.response_tokens,
            loops.max_prefilled,
            decoding,
        )
    return decoding


def _estimate_prefill(ttft: PositiveSum, loops: ClosedLoops, decoding: Floats) -> Floats:
    """Return the seconds that a prompt is prefilled in, if no other waits."""
    one = np.ones_like(decoding)
    alone = dataclasses.replace(loops, clients=one).compute_ttft_terms(decoding, one, one)
    shares = ttft.compute_shares(loops.servers.columns, alone)
    return np.asarray(shares[:, : len(PREFILL_TERMS)].sum(axis=1))


def fit_step_time_model(loops: ClosedLoops, tpot_s: Floats, ttft_s: Floats, weights: Floats) -> StepTimeModel:
    """Fit the model to published measurements, one a row of `loops`."""
    columns = loops.servers.columns
    decoding = np.minimum(loops.clients, loops.cached)
    tpot: PositiveSum | None = None
    for _ in range(_OUTER_ITERATIONS + 1):
        tpot = fit_positive_sum(
            (*DECODE_TERMS, *PREFILL_TERMS),
            TPOT_EFFECTS,
            columns,
            loops.compute_tpot_terms(decoding),
            tpot_s,
            weights,
            prior_sigma=_PRIOR_SIGMA,
            noise=_TPOT_NOISE,
            start=tpot,
        )
        decoding = _count_decoding(tpot, loops)
    assert tpot is not None
    predicted_s = tpot.predict(columns, loops.compute_tpot_terms(decoding))
    prior = PositiveSum(TTFT_TERMS, (), tuple(term.prior * term.unit for term in TTFT_TERMS), ())
    ttft: PositiveSum | None = None
    for _ in range(_OUTER_ITERATIONS + 1):
        prefill_s = _estimate_prefill(ttft or prior, loops, decoding)
        ttft = fit_positive_sum(
            TTFT_TERMS,
            TTFT_EFFECTS,
            columns,
            loops.compute_ttft_terms(decoding, predicted_s, prefill_s),
            ttft_s,
            weights,
            prior_sigma=_PRIOR_SIGMA,
            noise=_TTFT_NOISE,
            start=ttft,
        )
    assert ttft is not None
    return StepTimeModel(tpot, ttft)
