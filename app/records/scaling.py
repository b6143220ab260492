"""Settings of autoscalers and of the lifecycle of replicas, in a form that can be written by hand.

The default values of each autoscaler are those of the product that it is named after.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ScalingMetric = Literal["busy", "in_flight", "rate"]
"""Scaling metric per replica: utilization (0 to 1), requests in flight (running or queued), or
arrival rate in req/s."""


class RatePolicy(msgspec.Struct, frozen=True):
    """Scaling policy of an HPA: the maximum number of pods, absolute or as a percentage of the
    current pods, that may be added or removed within `period_s`."""

    unit: Literal["pods", "percent"]
    value: float
    period_s: float = 15.0


class ScalingRules(msgspec.Struct, frozen=True):
    """Scaling rules for one direction of an HPA's `behavior`. If policies differ, `select` chooses
    the policy with the largest change ("max"), the policy with the smallest change ("min"), or no
    scaling in this direction ("disabled")."""

    stabilization_s: float
    policies: tuple[RatePolicy, ...]
    select: Literal["max", "min", "disabled"] = "max"


DEFAULT_SCALE_UP = ScalingRules(0.0, (RatePolicy("percent", 100.0), RatePolicy("pods", 4.0)))
DEFAULT_SCALE_DOWN = ScalingRules(300.0, (RatePolicy("percent", 100.0),))


class Fixed(msgspec.Struct, frozen=True, tag_field="kind", tag="none"):
    """No autoscaler: a fixed number of replicas."""

    replicas: int


class HpaRules(msgspec.Struct, frozen=True):
    """Target, bounds, metric and scaling rules of an HPA."""

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
    """Kubernetes HorizontalPodAutoscaler. The metric is averaged over the ready replicas and the
    last `window_s` seconds."""


class Keda(HpaRules, frozen=True, tag_field="kind", tag="keda"):
    """KEDA autoscaler: KEDA polls the metric to scale from zero and, after the cool-down, to zero
    if `min` is 0; between 1 and `max` replicas, an HPA scales on the sum of the metric, with
    `target` per replica. The metric is requests in flight or arrivals/s.

    If `buffers_requests` is true, a queue or an interceptor buffers requests while no replica is
    ready; otherwise, requests are rejected while no replica is ready.
    """

    metric: Literal["in_flight", "rate"] = "in_flight"
    min: int = 0
    activation: float = 0.0
    buffers_requests: bool = True
    polling_s: float = 30.0
    cool_down_s: float = 300.0


class Knative(msgspec.Struct, frozen=True, tag_field="kind", tag="knative"):
    """Knative autoscaler, also used by KServe's serverless mode.

    `capacity` is the concurrency limit of one replica or, for the metric "rate", the limit in
    arrivals/s. `utilization` is the targeted fraction of `capacity`; a `max` of 0 means no limit.
    If the replicas have no room for `burst` more requests, requests are routed through the
    activator; a `burst` of −1 always routes requests through the activator.
    """

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
    """Number of replicas from `at_s` on. `at_s` is the time of day in s after midnight."""

    at_s: float
    replicas: int


class Scheduled(msgspec.Struct, frozen=True, tag_field="kind", tag="schedule"):
    """Daily replica schedule, sorted by time. Before the time of the first row, the last row of the
    previous day applies."""

    table: tuple[ScheduledReplicas, ...]


class Predictive(msgspec.Struct, frozen=True, tag_field="kind", tag="predictive"):
    """Predictive autoscaler. It provides replicas for the highest rate forecast for the next
    `lead_s` seconds, at `rate_per_replica_per_s` req/s per replica."""

    rate_per_replica_per_s: float
    lead_s: float
    max: int
    min: int = 1
    headroom: float = 0.0
    tick_s: float = 15.0


class PlannedReplica(msgspec.Struct, frozen=True):
    """Planned load of each replica, from which autoscaler settings are derived: at the rate
    `per_s`, a replica has the given `utilization` and `in_flight` requests. `by_hour` is the number
    of replicas needed in each hour of the day."""

    replicas: int
    per_s: float
    utilization: float
    in_flight: float
    by_hour: tuple[int, ...]


Autoscaler = Fixed | Hpa | Keda | Knative | Scheduled | Predictive


class Transfer(msgspec.Struct, frozen=True):
    """Transfer of `size_bytes` bytes at the rate of the slowest link. `network`, `disk` and `pcie`
    are the rates of the links in bytes/s; None means no limit. A transfer of 0 bytes takes no
    time."""

    size_bytes: float = 0.0
    network: float | None = None
    disk: float | None = None
    pcie: float | None = None

    @property
    def median_s(self) -> float:
        rates = [rate for rate in (self.network, self.disk, self.pcie) if rate is not None]
        return self.size_bytes / min(rates) if rates else 0.0


class ColdStartModel(msgspec.Struct, frozen=True):
    """Durations of the phases of a cold start: the time from the request for a replica to the first
    request that the replica serves. Each duration is drawn from a lognormal distribution with the
    phase's median and the coefficient of variation `cv`.

    `warm_nodes` is the number of empty nodes that are kept provisioned and billed. A node request
    fails with `refusal_probability` (no capacity at the provider) and is retried after `retry_s`;
    the wait is not billed.
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
        """Median cold-start time in s, including node provisioning, if no node request fails."""
        return self.node_s + self.image.median_s + self.weights.median_s + self.engine_s + self.warm_up_s


class FailureModel(msgspec.Struct, frozen=True):
    """Failures of ready replicas: times between failures are exponential with mean `mtbf_hours`. A
    failed replica loses its requests and restarts after `detect_s`: on a new node if `new_node` is
    true, otherwise on its own node, where the image is cached."""

    mtbf_hours: float
    detect_s: float = 10.0
    new_node: bool = False


class RollingUpdate(msgspec.Struct, frozen=True):
    """A rolling update that starts at `at_s` and replaces every replica, with at most `surge` extra
    replicas and at most `unavailable` replicas missing at any time. `surge` and `unavailable` are
    fractions of the requested replicas, which are rounded up and down, respectively, as in
    Kubernetes."""

    at_s: float
    surge: float = 0.25
    unavailable: float = 0.25


class Operations(msgspec.Struct, frozen=True):
    """Settings for the start, stop, update and failure of replicas. A terminating replica has at
    most `drain_s` to finish its requests."""

    cold_start: ColdStartModel = ColdStartModel()
    failures: FailureModel | None = None
    updates: tuple[RollingUpdate, ...] = ()
    drain_s: float = 30.0
