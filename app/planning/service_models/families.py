"""Service models that a fit tries: their free parameters, starting values and priors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.records.service import BatchService, Discipline, RequestService, ServiceModel

_SLOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_MAX_BATCHES = (4, 8, 16, 32, 64)
_MAX_RELATIVE_BATCH = 16.0
"""Largest batch that is tried, relative to the requests in work at the unloaded latency.

Larger batches can hardly be distinguished, since the time per item, not the limit, then determines how many requests a
replica can serve.
"""
_FIXED_SHARES = (0.4, 0.75)
"""Starting values of a batch model's fixed time, as shares of the unloaded latency.

From a single one, searches often end in a local minimum nearby.
"""


ADMISSION_LIMITS = ("max_sequences", "kv_tokens")
LIMITS = (*ADMISSION_LIMITS, "chunk_tokens")
"""Parameters that are whole numbers: how much a language model has in work, or processes, at once."""


class Prior(msgspec.Struct, frozen=True):
    """Log-normal prior of a parameter; a `sigma` of `None` means no prior."""

    median: float
    sigma: float
    low: float
    high: float


class ServiceFamily(msgspec.Struct, frozen=True):
    """Service model with the fields that a fit may change, all positive, as logarithms."""

    service: ServiceModel
    priors: dict[str, Prior]

    @property
    def kind(self) -> ServiceModel:
        """Service that is equal for models that differ only in the values of the free parameters."""
        return self.with_values(np.zeros(len(self.priors)))

    @property
    def family(self) -> tuple[type[ServiceModel], Discipline | None, tuple[str, ...]]:
        """Family that is equal for models that differ only in slots or batch sizes."""
        discipline = self.service.discipline if isinstance(self.service, RequestService) else None
        return type(self.service), discipline, self.parameters

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.priors)

    @property
    def logs(self) -> tuple[float, ...]:
        return tuple(math.log(getattr(self.service, name)) for name in self.priors)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        priors = self.priors.values()
        return np.log([prior.low for prior in priors]), np.log([prior.high for prior in priors])

    def with_values(self, logs: Floats) -> ServiceModel:
        """Return the service with these values; limits may be fractions here, so that a fit has slopes."""
        return msgspec.structs.replace(self.service, **dict(zip(self.parameters, np.exp(logs).tolist(), strict=True)))

    def with_logs(self, logs: Floats) -> ServiceFamily:
        return msgspec.structs.replace(self, service=self.with_values(logs))

    def prior_residuals(self, logs: Floats) -> Floats:
        medians = np.array([prior.median for prior in self.priors.values()])
        sigmas = np.array([prior.sigma for prior in self.priors.values()])
        return np.asarray((logs - np.log(medians)) / sigmas)


def with_parameters(service: ServiceModel, parameters: Sequence[str], logs: Floats) -> ServiceModel:
    """Return the service with other values of these fields, given as logarithms.

    Limits are whole numbers of at least 1.
    """
    values = dict(zip(parameters, np.exp(logs).tolist(), strict=True))
    rounded = {name: max(1, round(value)) for name, value in values.items() if name in LIMITS}
    return msgspec.structs.replace(service, **(values | rounded))


def list_candidate_families(unloaded_s: float, max_per_s: float) -> list[ServiceFamily]:
    """Return the models that can sustain `max_per_s` at the unloaded latency: slots by Little's law, or batches."""
    in_work = max_per_s * unloaded_s
    sufficient = [slots for slots in _SLOTS if slots >= 0.5 * in_work] or [_SLOTS[-1]]
    slots = sorted({1, *(slot_count for slot_count in _SLOTS if slot_count <= 2.5 * in_work), sufficient[0]})[-5:]
    return [
        *(_request_family(slot_count, unloaded_s, max_per_s) for slot_count in slots),
        *(
            _batch_family(max_batch, share, unloaded_s, max_per_s)
            for max_batch in _MAX_BATCHES
            for share in _FIXED_SHARES
            if in_work > 1.0 and (max_batch >= 0.2 * in_work or max_batch == _MAX_BATCHES[-1])
            if max_batch <= max(_MAX_BATCHES[0], _MAX_RELATIVE_BATCH * in_work)
        ),
    ]


def _request_family(slots: int, unloaded_s: float, most_per_s: float) -> ServiceFamily:
    mean_s = min(slots / most_per_s * 0.98, unloaded_s * 1.2)
    outside_s = max(unloaded_s - mean_s, 0.02 * unloaded_s)
    return ServiceFamily(
        RequestService(slots, mean_s, 0.3, outside_s),
        {
            "mean_s": Prior(mean_s, 1.0, mean_s / 20, mean_s * 20),
            "cv": Prior(0.4, 1.0, 0.01, 5.0),
            "outside_s": Prior(outside_s, 1.5, 1e-4 * unloaded_s, 2 * unloaded_s),
        },
    )


def share_cores(family: ServiceFamily) -> ServiceFamily:
    """Return the model with as many shared cores as it has slots, starting from the fit without sharing."""
    return ServiceFamily(msgspec.structs.replace(family.service, discipline="processor sharing"), family.priors)


def add_slow_phase(family: ServiceFamily) -> list[ServiceFamily]:
    """Return the model with fast and slow requests, starting from the fit without them; empty for other models."""
    if not isinstance(family.service, RequestService) or family.service.slow_share > 0 or family.service.is_shared:
        return []
    service = msgspec.structs.replace(family.service, cv=0.3, slow_share=0.1, slow_factor=6.0)
    phases = {"slow_share": Prior(0.1, 1.0, 0.004, 0.6), "slow_factor": Prior(6.0, 1.0, 1.5, 60.0)}
    return [ServiceFamily(service, {**family.priors, **phases})]


def vary_slots(family: ServiceFamily) -> list[ServiceFamily]:
    """Return the model with one slot more and one less, at the same highest rate; empty for other models."""
    if not isinstance(family.service, RequestService):
        return []
    return [
        _with_slots(family, family.service, slots)
        for slots in (family.service.slots - 1, family.service.slots + 1)
        if slots
    ]


def _with_slots(family: ServiceFamily, service: RequestService, slots: int) -> ServiceFamily:
    scale = slots / service.slots
    mean_prior, outside_prior = family.priors["mean_s"], family.priors["outside_s"]
    mean = Prior(mean_prior.median * scale, mean_prior.sigma, mean_prior.low * scale, mean_prior.high * scale)
    outside_s = service.outside_s + service.mean_s * (1 - scale)
    outside_s = min(max(outside_s, 10 * outside_prior.low), 0.9 * outside_prior.high)
    changed = msgspec.structs.replace(service, slots=slots, mean_s=service.mean_s * scale, outside_s=outside_s)
    return ServiceFamily(changed, {**family.priors, "mean_s": mean})


def _batch_family(max_batch: int, fixed_share: float, unloaded_s: float, most_per_s: float) -> ServiceFamily:
    fixed_s, window_s, outside_s = fixed_share * unloaded_s, 0.05 * unloaded_s, (0.95 - fixed_share) * unloaded_s
    per_item_s = min(max(1 / most_per_s - fixed_s / max_batch, 0.05 * unloaded_s / max_batch), 1 / most_per_s)
    return ServiceFamily(
        BatchService(fixed_s, per_item_s, max_batch, window_s, 0.1, outside_s),
        {
            "fixed_s": Prior(fixed_s, 1.0, 0.05 * unloaded_s, 1.5 * unloaded_s),
            "per_item_s": Prior(per_item_s, 1.5, 1e-3 * unloaded_s / max_batch, 2 / most_per_s),
            "window_s": Prior(window_s, 2.0, 1e-4 * unloaded_s, 1.5 * unloaded_s),
            "cv": Prior(0.1, 1.0, 0.01, 2.0),
            "outside_s": Prior(outside_s, 1.5, 1e-4 * unloaded_s, 1.5 * unloaded_s),
        },
    )
