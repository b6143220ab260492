"""Candidate service models for a fit: free parameters, starting values and priors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.records.service import BatchService, Discipline, RequestService, ServiceModel

_SLOT_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_BATCH_SIZES = (4, 8, 16, 32, 64)
_MAX_RELATIVE_BATCH_SIZE = 16.0
"""Largest batch size to try, relative to the number of requests in flight at the unloaded latency.

Larger batch sizes can hardly be distinguished, because throughput then depends on the time per item
only.
"""
_FIXED_SHARES = (0.4, 0.75)
"""Starting values of the fixed time per batch in a batch model, as shares of the unloaded latency.

With a single starting value, a search often ends in a nearby local minimum.
"""


ADMISSION_LIMITS = ("max_sequences", "kv_tokens")
LIMITS = (*ADMISSION_LIMITS, "chunk_tokens")
"""Names of the integer parameters of a token service: maximum number of sequences, of cached
tokens, and of tokens per step."""


class Prior(msgspec.Struct, frozen=True):
    """Lognormal prior of a parameter: median, standard deviation of the logarithm, and bounds."""

    median: float
    log_sd: float
    lower_bound: float
    upper_bound: float


class ServiceFamily(msgspec.Struct, frozen=True):
    """Service model and its free parameters, which are positive and fitted as logarithms."""

    service: ServiceModel
    priors: dict[str, Prior]

    @property
    def kind_key(self) -> ServiceModel:
        """Service model with all free parameters set to 1. Service families that differ only in the
        values of free parameters have the same kind.
        """
        return self.with_values(np.zeros(len(self.priors)))

    @property
    def family_key(self) -> tuple[type[ServiceModel], Discipline | None, tuple[str, ...]]:
        """Key of the model family. Models that differ only in slots or batch sizes have the same
        key."""
        discipline = self.service.discipline if isinstance(self.service, RequestService) else None
        return type(self.service), discipline, self.parameters

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.priors)

    @property
    def log_parameters(self) -> tuple[float, ...]:
        return tuple(math.log(getattr(self.service, name)) for name in self.priors)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        priors = self.priors.values()
        return np.log([prior.lower_bound for prior in priors]), np.log([prior.upper_bound for prior in priors])

    def with_values(self, log_parameters: Floats) -> ServiceModel:
        """Return the service model with the free parameters set to exp(`log_parameters`).

        Limits may be fractional, so that the fit can compute slopes.
        """
        return msgspec.structs.replace(
            self.service, **dict(zip(self.parameters, np.exp(log_parameters).tolist(), strict=True))
        )

    def with_log_parameters(self, log_parameters: Floats) -> ServiceFamily:
        return msgspec.structs.replace(self, service=self.with_values(log_parameters))

    def compute_prior_residuals(self, log_parameters: Floats) -> Floats:
        medians = np.array([prior.median for prior in self.priors.values()])
        sigmas = np.array([prior.log_sd for prior in self.priors.values()])
        return np.asarray((log_parameters - np.log(medians)) / sigmas)


def with_parameters(service: ServiceModel, parameters: Sequence[str], log_parameters: Floats) -> ServiceModel:
    """Return the service model with the named parameters set to exp(`log_parameters`).

    Limits are rounded to integers of at least 1.
    """
    values = dict(zip(parameters, np.exp(log_parameters).tolist(), strict=True))
    rounded_limits = {name: max(1, round(value)) for name, value in values.items() if name in LIMITS}
    return msgspec.structs.replace(service, **(values | rounded_limits))


def list_candidate_families(unloaded_latency_s: float, max_per_s: float) -> list[ServiceFamily]:
    """Return the service models, with request slots or batches, that can sustain `max_per_s`
    requests per second and have the unloaded latency `unloaded_latency_s`.

    Plausible numbers of slots and batch sizes follow from Little's law.
    """
    max_in_flight = max_per_s * unloaded_latency_s
    sufficient_counts = [slots for slots in _SLOT_COUNTS if slots >= 0.5 * max_in_flight] or [_SLOT_COUNTS[-1]]
    slot_counts = sorted({1, *(slots for slots in _SLOT_COUNTS if slots <= 2.5 * max_in_flight), sufficient_counts[0]})[
        -5:
    ]
    return [
        *(_build_request_family(slots, unloaded_latency_s, max_per_s) for slots in slot_counts),
        *(
            _build_batch_family(max_batch, fixed_share, unloaded_latency_s, max_per_s)
            for max_batch in _BATCH_SIZES
            for fixed_share in _FIXED_SHARES
            if max_in_flight > 1.0 and (max_batch >= 0.2 * max_in_flight or max_batch == _BATCH_SIZES[-1])
            if max_batch <= max(_BATCH_SIZES[0], _MAX_RELATIVE_BATCH_SIZE * max_in_flight)
        ),
    ]


def _build_request_family(slots: int, unloaded_latency_s: float, max_per_s: float) -> ServiceFamily:
    """Return a family of services with `slots` parallel requests, whose start values sustain `max_per_s` and have the
    latency of an idle server: what exceeds the mean service time is time outside the server."""
    mean_s = min(slots / max_per_s * 0.98, unloaded_latency_s * 1.2)
    outside_s = max(unloaded_latency_s - mean_s, 0.02 * unloaded_latency_s)
    return ServiceFamily(
        RequestService(slots, mean_s, 0.3, outside_s),
        {
            "mean_s": Prior(mean_s, 1.0, mean_s / 20, mean_s * 20),
            "cv": Prior(0.4, 1.0, 0.01, 5.0),
            "outside_s": Prior(outside_s, 1.5, 1e-4 * unloaded_latency_s, 2 * unloaded_latency_s),
        },
    )


def share_cores(family: ServiceFamily) -> ServiceFamily:
    """Return the model with processor sharing on as many cores as the model has slots.

    The fit starts from the parameters of the model without processor sharing.
    """
    return ServiceFamily(msgspec.structs.replace(family.service, discipline="processor sharing"), family.priors)


def add_slow_phase(family: ServiceFamily) -> list[ServiceFamily]:
    """Return a list with the model extended by a share of slow requests. The list is empty for
    models without slots, with processor sharing, or with slow requests already."""
    if not isinstance(family.service, RequestService) or family.service.slow_share > 0 or family.service.is_shared:
        return []
    service = msgspec.structs.replace(family.service, cv=0.3, slow_share=0.1, slow_factor=6.0)
    phase_priors = {"slow_share": Prior(0.1, 1.0, 0.004, 0.6), "slow_factor": Prior(6.0, 1.0, 1.5, 60.0)}
    return [ServiceFamily(service, {**family.priors, **phase_priors})]


def vary_slots(family: ServiceFamily) -> list[ServiceFamily]:
    """Return the model with one slot fewer and with one slot more, at the same max throughput. The
    list is empty for models without slots."""
    if not isinstance(family.service, RequestService):
        return []
    return [
        _change_slots(family, family.service, slots)
        for slots in (family.service.slots - 1, family.service.slots + 1)
        if slots
    ]


def _change_slots(family: ServiceFamily, service: RequestService, slots: int) -> ServiceFamily:
    """Return the family, and its fitted service, with another number of slots and the same maximum throughput. The
    mean service time scales with the slots. The time outside the server absorbs the difference, within its bounds."""
    scale = slots / service.slots
    mean_prior, outside_prior = family.priors["mean_s"], family.priors["outside_s"]
    scaled_mean_prior = Prior(
        mean_prior.median * scale,
        mean_prior.log_sd,
        mean_prior.lower_bound * scale,
        mean_prior.upper_bound * scale,
    )
    outside_s = service.outside_s + service.mean_s * (1 - scale)
    outside_s = min(max(outside_s, 10 * outside_prior.lower_bound), 0.9 * outside_prior.upper_bound)
    changed_service = msgspec.structs.replace(service, slots=slots, mean_s=service.mean_s * scale, outside_s=outside_s)
    return ServiceFamily(changed_service, {**family.priors, "mean_s": scaled_mean_prior})


def _build_batch_family(
    max_batch: int, fixed_share: float, unloaded_latency_s: float, max_per_s: float
) -> ServiceFamily:
    """Return a family of services with dynamic batching. Of the latency of an idle server, `fixed_share` is the fixed
    time of a batch, 5 % are the batching window and the rest is time outside the server. The time per item is chosen
    so that full batches sustain `max_per_s`."""
    fixed_s, window_s, outside_s = (
        fixed_share * unloaded_latency_s,
        0.05 * unloaded_latency_s,
        (0.95 - fixed_share) * unloaded_latency_s,
    )
    per_item_s = min(max(1 / max_per_s - fixed_s / max_batch, 0.05 * unloaded_latency_s / max_batch), 1 / max_per_s)
    return ServiceFamily(
        BatchService(fixed_s, per_item_s, max_batch, window_s, 0.1, outside_s),
        {
            "fixed_s": Prior(fixed_s, 1.0, 0.05 * unloaded_latency_s, 1.5 * unloaded_latency_s),
            "per_item_s": Prior(per_item_s, 1.5, 1e-3 * unloaded_latency_s / max_batch, 2 / max_per_s),
            "window_s": Prior(window_s, 2.0, 1e-4 * unloaded_latency_s, 1.5 * unloaded_latency_s),
            "cv": Prior(0.1, 1.0, 0.01, 2.0),
            "outside_s": Prior(outside_s, 1.5, 1e-4 * unloaded_latency_s, 1.5 * unloaded_latency_s),
        },
    )
