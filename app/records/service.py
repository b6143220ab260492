"""Service models: how long one replica works on its requests. Fitted to a load curve, and used by the simulation.

`outside_s` is the part of a latency that uses no resources of the replica (network, parsing); `cv` is the coefficient
of variation of a lognormal factor with mean 1 that multiplies the service time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Discipline = Literal["first come, first served", "processor sharing"]

UNLIMITED_TOKENS = 2**31 - 1
"""Token limit that means no limit: requests were never observed to queue for KV cache."""


class RequestService(msgspec.Struct, frozen=True, tag="request"):
    """First come, first served with `slots` identical servers; each request occupies one for a lognormal time with mean
    `mean_s`.

    If `slow_share` is greater than 0, service times are a mixture of two: that share of the requests takes
    `slow_factor` times as long as the others, each component gamma distributed with this `cv`. A cv of 1 gives a
    hyperexponential distribution, a cv near 0 a bimodal one.

    With processor sharing no request is queued: all run at once and share `slots` cores equally, and none runs faster
    than on a core of its own. The times are then those of a request that runs alone.
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
    def max_per_s(self) -> float:
        return self.slots / self.mean_s


class BatchService(msgspec.Struct, frozen=True, tag="batch"):
    """Dynamic batching, one batch at a time of up to `max_batch` requests: a batch of b takes fixed_s + per_item_s × b.

    A batch starts when the replica is free and either `max_batch` requests are queued or the oldest has waited
    `window_s`.
    """

    fixed_s: float
    per_item_s: float
    max_batch: int
    window_s: float = 0.0
    cv: float = 0.0
    outside_s: float = 0.0

    @property
    def max_per_s(self) -> float:
        return self.max_batch / (self.fixed_s + self.per_item_s * self.max_batch)


class TokenService(msgspec.Struct, frozen=True, tag="token"):
    """Continuous batching of a language model.

    A step with b sequences decoding over k tokens of KV cache, which also prefills p prompt tokens, takes step_s +
    per_sequence_s × b + per_kv_token_s × k + prefill_s_per_token × p. A step prefills at most `chunk_tokens` prompt
    tokens, at most `max_sequences` sequences run at once, and running sequences must fit in `kv_tokens`.
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
    """One service model that explains the load points, with its posterior probability.

    `parameters` names the fields of `service` whose logarithms have the covariance `log_covariance`.
    """

    service: ServiceModel
    probability: float
    parameters: tuple[str, ...]
    log_covariance: tuple[tuple[float, ...], ...]


class FitError(msgspec.Struct, frozen=True):
    """One percentile at one rate: the measured value, and the value that the fitted service model gives for a stage of
    the same length."""

    offered_per_s: float
    aggregate: str
    measured_s: float
    fitted_s: float
    deviations: float
    """Difference between the measured and the fitted value, in standard deviations of such a measurement."""


class ServiceFit(msgspec.Struct, frozen=True):
    """Service models that explain the measured load points of one replica, most probable first, and their goodness of
    fit.

    No statement is made about rates above `highest_per_s`, the highest rate that one replica was observed to serve.
    """

    services: tuple[FittedService, ...]
    errors: tuple[FitError, ...]
    median_error: float
    """Median of |fitted / measured − 1| over the percentiles of all rates."""
    spread: float
    """Factor by which the deviations exceed sampling error; the covariances are inflated by it."""
    lowest_per_s: float
    highest_per_s: float
