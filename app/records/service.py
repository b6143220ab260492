"""Service models: how long one replica takes for what it is given. Fitted from a curve, played by the simulation.

`outside_s` is the part of a latency that holds nothing of the replica (network, parsing); `cv` is the coefficient of
variation of a lognormal factor of mean 1 on the time it stands beside.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Discipline = Literal["first come, first served", "processor sharing"]

NO_LIMIT = 2**31 - 1
"""Of tokens: requests were never seen to wait for room."""


class RequestService(msgspec.Struct, frozen=True, tag="request"):
    """First come, first served by `slots` alike; each request holds one for a lognormal time of this mean.

    With a `slow_share` the times are of two phases: so large a share of the requests takes `slow_factor` times as long
    as the others, each phase with gamma times of this `cv`. A cv of 1 is a hyperexponential distribution, a cv near 0 a
    bimodal one.

    With processor sharing no request waits: all run at once and share `slots` cores equally, and none runs faster than
    on a core of its own. The times are those of a request that runs alone.
    """

    slots: int
    mean_s: float
    cv: float
    outside_s: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    discipline: Discipline = "first come, first served"

    @property
    def is_shared(self) -> bool:
        return self.discipline == "processor sharing"

    @property
    def most_per_s(self) -> float:
        return self.slots / self.mean_s


class BatchService(msgspec.Struct, frozen=True, tag="batch"):
    """One batch at a time of all that waits, up to `max_batch`: a batch of b takes fixed_s + per_item_s × b.

    A batch begins when the replica is free and either `max_batch` wait or the oldest has waited `window_s`.
    """

    fixed_s: float
    per_item_s: float
    max_batch: int
    window_s: float = 0.0
    cv: float = 0.0
    outside_s: float = 0.0

    @property
    def most_per_s(self) -> float:
        return self.max_batch / (self.fixed_s + self.per_item_s * self.max_batch)


class TokenService(msgspec.Struct, frozen=True, tag="token"):
    """Continuous batching of a language model.

    A step with b sequences decoding over k tokens of KV cache, which also reads p tokens of prompts, takes
    step_s + per_sequence_s × b + per_kv_token_s × k + prefill_s_per_token × p. At most `chunk_tokens` of prompts are
    read a step, at most `max_sequences` are in work, and what is in work fits `kv_tokens`.
    """

    step_s: float
    per_sequence_s: float
    prefill_s_per_token: float
    max_sequences: int
    kv_tokens: int
    chunk_tokens: int = 2048
    per_kv_token_s: float = 0.0
    cv: float = 0.0
    outside_s: float = 0.0


ServiceModel = RequestService | BatchService | TokenService


class FittedService(msgspec.Struct, frozen=True):
    """One law that explains the load points, with the chance that it is the one.

    `parameters` names fields of `service` whose logarithms have the covariance `log_covariance`.
    """

    service: ServiceModel
    chance: float
    parameters: tuple[str, ...]
    log_covariance: tuple[tuple[float, ...], ...]


class FitError(msgspec.Struct, frozen=True):
    """One percentile of one rate: what was measured, and what the fitted law gives for a stage of the same length."""

    offered_per_s: float
    aggregate: str
    measured_s: float
    fitted_s: float
    deviations: float
    """How far apart they are, in standard deviations of such a measurement."""


class ServiceFit(msgspec.Struct, frozen=True):
    """Laws that explain the measured load points of one replica, the likeliest first, and how well they do.

    Nothing may be said of rates over `highest_per_s`, the most that one replica was seen to answer.
    """

    laws: tuple[FittedService, ...]
    errors: tuple[FitError, ...]
    median_error: float
    """Of |fitted / measured − 1|, over the percentiles of all rates."""
    spread: float
    """By what factor the deviations are wider than sampling alone explains; the covariances are widened by it."""
    lowest_per_s: float
    highest_per_s: float
