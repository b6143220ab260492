"""Service models, which describe how long one replica takes to serve its requests. The models are
fitted to a load curve and used by the simulation.

In all models, `outside_s` is the part of the latency that uses no resources of the replica
(network, parsing), and `cv` is the coefficient of variation of a lognormal factor with mean 1 that
multiplies the service time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Discipline = Literal["first come, first served", "processor sharing"]

UNLIMITED_TOKENS = 2**31 - 1
"""Value of a token limit that means no limit. It is used if requests were never observed to queue
for KV cache."""


class RequestService(msgspec.Struct, frozen=True, tag="request"):
    """Service model with `slots` identical servers, first come, first served. Each request occupies
    one server for a lognormal time with mean `mean_s`.

    If `slow_share` is greater than 0, service times are a mixture of two gamma distributions with
    coefficient of variation `cv`: a fraction `slow_share` of the requests takes `slow_factor` times
    as long as the other requests. With a `cv` of 1, the mixture is hyperexponential; with a `cv`
    near 0, bimodal.

    With processor sharing, requests are never queued: all requests run at once and share `slots`
    cores equally, and no request runs faster than on one core. Service times are then those of a
    request that runs alone.
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
    def max_throughput_per_s(self) -> float:
        return self.slots / self.mean_s


class BatchService(msgspec.Struct, frozen=True, tag="batch"):
    """Service model of dynamic batching: one batch at a time, of up to `max_batch` requests. A
    batch of b requests takes fixed_s + per_item_s × b.

    A batch starts when the replica is free and either `max_batch` requests are queued or the oldest
    request has waited for `window_s`.
    """

    fixed_s: float
    per_item_s: float
    max_batch: int
    window_s: float = 0.0
    cv: float = 0.0
    outside_s: float = 0.0

    @property
    def max_throughput_per_s(self) -> float:
        return self.max_batch / (self.fixed_s + self.per_item_s * self.max_batch)


class TokenService(msgspec.Struct, frozen=True, tag="token"):
    """Service model of continuous batching for a language model.

    A step takes step_s + per_sequence_s × b + per_kv_token_s × k + prefill_s_per_token × p +
    experts_s × (1 − (1 − expert_share)^(b + p)), where b is the number of decoding sequences, k the
    number of their tokens in the KV cache, and p the number of prompt tokens prefilled in the step.
    A step prefills at most `chunk_tokens` prompt tokens, at most `max_sequences` sequences run at
    once, and the running sequences must fit in `kv_tokens`.
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
    experts_s: float = 0.0
    """Time that a step takes to read all experts of a mixture of experts, in s; 0 for other models."""
    expert_share: float = 0.0
    """Share of the experts that a token is routed to."""

    def compute_decode_step_s(self, batch: float, context_tokens: float) -> float:
        """Return the duration in s of a step without prompts, in which `batch` sequences have
        `context_tokens` tokens in the KV cache."""
        experts_s: float = self.experts_s * (1 - (1 - self.expert_share) ** batch)
        return self.step_s + self.per_sequence_s * batch + self.per_kv_token_s * context_tokens + experts_s


ServiceModel = RequestService | BatchService | TokenService


class FittedService(msgspec.Struct, frozen=True):
    """One service model that is consistent with the load points, and its posterior probability.

    `parameters` lists the fields of `service` whose logarithms have the covariance matrix
    `log_covariance`.
    """

    service: ServiceModel
    probability: float
    parameters: tuple[str, ...]
    log_covariance: tuple[tuple[float, ...], ...]


class FitError(msgspec.Struct, frozen=True):
    """Error of the fit for one percentile at one rate: the measured value, and the value that the
    fitted service model predicts for a stage of the same length."""

    offered_per_s: float
    aggregate: str
    measured_s: float
    fitted_s: float
    deviations: float
    """Difference between measured and fitted value, in standard deviations of the measured
    value."""
    held_out_s: float | None = None
    """Value that the service model predicts if it is fitted to all other loads; None in plan files
    of earlier versions."""
    sigma: float | None = None
    """Standard deviation of the logarithm of the measured value between stages of the same length;
    None in plan files of earlier versions."""


class ServiceFit(msgspec.Struct, frozen=True):
    """Service models that are consistent with the measured load points of one replica, most
    probable first, and the goodness of fit.

    The models are not valid above `highest_per_s`, the highest rate that one replica was observed
    to serve.
    """

    services: tuple[FittedService, ...]
    errors: tuple[FitError, ...]
    median_error: float
    """Median of |fitted / measured − 1| over all percentiles and rates."""
    spread: float
    """Factor by which the deviations exceed the sampling error. The covariances are inflated by
    this factor."""
    lowest_per_s: float
    highest_per_s: float
