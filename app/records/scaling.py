"""Autoscaling and replica lifecycle settings, simple enough to write by hand.

The defaults of each autoscaler are those of the program it is named after.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ScalingMetric = Literal["busy", "in_flight", "rate"]
"""Scaling metric per replica: busy share of time (1 is always busy), requests running or queued, arrivals/s."""


class RatePolicy(msgspec.Struct, frozen=True):
    """Limit on the pods, as a number or as a percentage of the current count, that may be added or removed in any
    `period_s`."""

    unit: Literal["pods", "percent"]
    value: float
    period_s: float = 15.0


class ScalingRules(msgspec.Struct, frozen=True):
    """One direction of an HPA's `behavior`. `select` chooses between differing policies: the one that changes most, the
    one that changes least, or none at all."""

    stabilization_s: float
    policies: tuple[RatePolicy, ...]
    select: Literal["max", "min", "disabled"] = "max"


DEFAULT_SCALE_UP = ScalingRules(0.0, (RatePolicy("percent", 100.0), RatePolicy("pods", 4.0)))
DEFAULT_SCALE_DOWN = ScalingRules(300.0, (RatePolicy("percent", 100.0),))


class Fixed(msgspec.Struct, frozen=True, tag_field="kind", tag="none"):
    """No autoscaler: a fixed number of replicas."""

    replicas: int


class HpaRules(msgspec.Struct, frozen=True):
    """Target and bounds of an HPA, and how it reads its metric and scales on it."""

    target: float
    max: int
    metric: ScalingMetric = "busy"
    min: int = 1
    tolerance: float = 0.1
    sync_s: float = 15.0
    window_s: float = 15.0
    up: ScalingRules = DEFAULT_SCALE_UP
    down: ScalingRules = DEFAULT_SCALE_DOWN


class Hpa(HpaRules, frozen=True, tag_field="kind", tag="hpa"):
    """Kubernetes' HorizontalPodAutoscaler on a metric averaged over the ready replicas and the last `window_s`."""


class Keda(HpaRules, frozen=True, tag_field="kind", tag="keda"):
    """KEDA: its own poll scales from zero and, after the cool-down, to zero if `min` is 0; between 1 and `max` an HPA
    scales on the metric's sum, with `target` per replica. The metric is requests or arrivals/s.

    With `buffers_requests`, a queue or an interceptor buffers requests while no replica is ready; otherwise they are
    refused.
    """

    metric: Literal["in_flight", "rate"] = "in_flight"
    min: int = 0
    activation: float = 0.0
    buffers_requests: bool = True
    polling_s: float = 30.0
    cool_down_s: float = 300.0


class Knative(msgspec.Struct, frozen=True, tag_field="kind", tag="knative"):
    """Knative's autoscaler, which is also KServe's serverless mode. `capacity` is the concurrency limit of one replica
    (or arrivals/s), of which `utilization` is the target; a `max` of 0 is no limit. If there is no room for `burst`
    requests beyond those in flight, the activator is put in front of the replicas; −1 keeps it there always."""

    capacity: float = 100.0
    metric: Literal["in_flight", "rate"] = "in_flight"
    utilization: float = 0.7
    min: int = 0
    max: int = 0
    tick_s: float = 2.0
    stable_s: float = 60.0
    panic_s: float = 6.0
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    grace_s: float = 30.0
    burst: float = 211.0


class ScheduledReplicas(msgspec.Struct, frozen=True):
    """Number of replicas from this time of day."""

    at_s: float
    replicas: int


class Scheduled(msgspec.Struct, frozen=True, tag_field="kind", tag="schedule"):
    """Replica schedule of a day, in order of time; before the first row, the last one applies, as from the day
    before."""

    table: tuple[ScheduledReplicas, ...]


class Predictive(msgspec.Struct, frozen=True, tag_field="kind", tag="predictive"):
    """Replicas for the highest rate forecast within `lead_s` from now, each serving `per_replica_per_s`."""

    per_replica_per_s: float
    lead_s: float
    max: int
    min: int = 1
    headroom: float = 0.0
    tick_s: float = 15.0


class PlannedReplica(msgspec.Struct, frozen=True):
    """Planned load of each replica, from which an autoscaler's settings are derived: at the rate it is sized for, it is
    `busy` for this share of the time and has `in_flight` requests. `by_hour` holds the replicas that each hour of the
    day needs."""

    replicas: int
    per_s: float
    utilization: float
    in_flight: float
    by_hour: tuple[int, ...]


Autoscaler = Fixed | Hpa | Keda | Knative | Scheduled | Predictive


class Transfer(msgspec.Struct, frozen=True):
    """Transfer of a number of bytes over the slowest of these links, each in bytes/s; None does not limit. Zero bytes
    take no time."""

    size_bytes: float = 0.0
    network: float | None = None
    disk: float | None = None
    pcie: float | None = None

    @property
    def median_s(self) -> float:
        rates = [rate for rate in (self.network, self.disk, self.pcie) if rate is not None]
        return self.size_bytes / min(rates) if rates else 0.0


class ColdStartModel(msgspec.Struct, frozen=True):
    """Time from the request for a replica to its first request, phase by phase: medians, each drawn from a lognormal
    distribution with this `cv`.

    `warm_nodes` are kept provisioned, empty and billed. A node request is refused with `refusal_probability` (no stock)
    and retried after `retry_s`; nothing is billed meanwhile.
    """

    node_s: float = 0.0
    image: Transfer = Transfer()
    weights: Transfer = Transfer()
    engine_s: float = 0.0
    warm_up_s: float = 0.0
    cv: float = 0.0
    warm_nodes: int = 0
    refusal_probability: float = 0.0
    retry_s: float = 60.0

    @property
    def median_s(self) -> float:
        """Median cold-start time in s, including node provisioning, without refusals."""
        return self.node_s + self.image.median_s + self.weights.median_s + self.engine_s + self.warm_up_s


class FailureModel(msgspec.Struct, frozen=True):
    """Replica failures: each ready replica fails after an exponential time of this mean, loses its requests, and
    restarts `detect_s` later, on its node, which has the image, or on a new one."""

    mtbf_hours: float
    detect_s: float = 10.0
    new_node: bool = False


class RollingUpdate(msgspec.Struct, frozen=True):
    """A rolling update at this time, which replaces every replica, with at most `surge` more than requested at once and
    `unavailable` fewer ready; both are shares of the requested replicas, rounded up and down as in Kubernetes."""

    at_s: float
    surge: float = 0.25
    unavailable: float = 0.25


class Operations(msgspec.Struct, frozen=True):
    """How replicas start, stop and fail. A terminating replica finishes its requests for at most `drain_s`."""

    cold_start: ColdStartModel = ColdStartModel()
    failures: FailureModel | None = None
    updates: tuple[RollingUpdate, ...] = ()
    drain_s: float = 30.0
