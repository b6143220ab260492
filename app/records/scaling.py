"""How a fleet is scaled and how its replicas live: settings, plain enough to be written by hand.

The defaults of each autoscaler are those of the program it is named after.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Metric = Literal["busy", "in_flight", "rate"]
"""Per replica: the share of time it works (1 is all of it), requests in it or waiting for it, arrivals/s."""


class RatePolicy(msgspec.Struct, frozen=True):
    """At most so many pods, or so many percent of what there was, may be added or removed in any `period_s`."""

    unit: Literal["pods", "percent"]
    value: float
    period_s: float = 15.0


class ScalingRules(msgspec.Struct, frozen=True):
    """One direction of an HPA's `behavior`. `select` says which policy counts where they differ: the one that changes
    most, least, or none at all."""

    stabilisation_s: float
    policies: tuple[RatePolicy, ...]
    select: Literal["max", "min", "disabled"] = "max"


UP = ScalingRules(0.0, (RatePolicy("percent", 100.0), RatePolicy("pods", 4.0)))
DOWN = ScalingRules(300.0, (RatePolicy("percent", 100.0),))


class Fixed(msgspec.Struct, frozen=True, tag_field="kind", tag="none"):
    """No autoscaler."""

    replicas: int


class HpaRules(msgspec.Struct, frozen=True, kw_only=True):
    """How an HPA reads its metric and follows it."""

    tolerance: float = 0.1
    sync_s: float = 15.0
    window_s: float = 15.0
    up: ScalingRules = UP
    down: ScalingRules = DOWN


class Hpa(HpaRules, frozen=True, tag_field="kind", tag="hpa"):
    """Kubernetes' HorizontalPodAutoscaler on a metric averaged over the ready replicas and the last `window_s`."""

    target: float
    max: int
    metric: Metric = "busy"
    min: int = 1


class Keda(HpaRules, frozen=True, tag_field="kind", tag="keda"):
    """KEDA: its own poll wakes the fleet from none and, after the cool-down, sends it to sleep where `min` is 0;
    between 1 and `max` an HPA works on the metric's sum, `target` a replica. The metric is requests or arrivals/s.

    With `holds` a queue or an interceptor keeps what comes while nothing is ready; else it is refused.
    """

    target: float
    max: int
    metric: Literal["in_flight", "rate"] = "in_flight"
    min: int = 0
    activation: float = 0.0
    holds: bool = True
    polling_s: float = 30.0
    cool_down_s: float = 300.0


class Knative(msgspec.Struct, frozen=True, tag_field="kind", tag="knative"):
    """Knative's autoscaler, and so KServe's serverless mode. `capacity` is what one replica may hold at once (or
    arrivals/s), of which `utilisation` is aimed at; `max` 0 is no limit. `burst` requests beyond what is in flight must
    find room, else the activator stands before the replicas; −1 keeps it there always."""

    capacity: float = 100.0
    metric: Literal["in_flight", "rate"] = "in_flight"
    utilisation: float = 0.7
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
    """From this time of the day on."""

    at_s: float
    replicas: int


class Scheduled(msgspec.Struct, frozen=True, tag_field="kind", tag="schedule"):
    """A table for the day, in order of time; before its first row the last one holds, as from the day before."""

    table: tuple[ScheduledReplicas, ...]


class Predictive(msgspec.Struct, frozen=True, tag_field="kind", tag="predictive"):
    """Replicas for the highest rate forecast within `lead_s` from now, each carrying `per_replica_per_s`."""

    per_replica_per_s: float
    lead_s: float
    max: int
    min: int = 1
    headroom: float = 0.0
    tick_s: float = 15.0


class PlannedReplica(msgspec.Struct, frozen=True):
    """What a plan says of each of its replicas, and so where an autoscaler's settings begin: at the rate it is sized
    for, it is `busy` for this share of the time and has `in_flight` requests. `by_hour` are replicas that carry each
    hour of the day."""

    replicas: int
    per_s: float
    busy: float
    in_flight: float
    by_hour: tuple[int, ...]


Autoscaler = Fixed | Hpa | Keda | Knative | Scheduled | Predictive


class Transfer(msgspec.Struct, frozen=True):
    """So many bytes over the narrowest of these, each in bytes/s; None is not in the way. No bytes take no time."""

    size_bytes: float = 0.0
    network: float | None = None
    disk: float | None = None
    pcie: float | None = None

    @property
    def median_s(self) -> float:
        ways = [way for way in (self.network, self.disk, self.pcie) if way is not None]
        return self.size_bytes / min(ways) if ways else 0.0


class ColdStartModel(msgspec.Struct, frozen=True):
    """From wanting a replica to its first request, phase by phase: medians, each drawn lognormal with this `cv`.

    `warm_nodes` are kept provisioned, empty and paid for. A node is refused with `refusal_probability` (no stock) and
    asked for again after `retry_s`; nothing is paid meanwhile.
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
        """With a node to provision and no refusal."""
        return self.node_s + self.image.median_s + self.weights.median_s + self.engine_s + self.warm_up_s


class FailureModel(msgspec.Struct, frozen=True):
    """Each ready replica fails after an exponential time of this mean, takes what it holds with it, and `detect_s`
    later starts again: on its node, where the image lies, or on a new one."""

    mtbf_hours: float
    detect_s: float = 10.0
    new_node: bool = False


class RollingUpdate(msgspec.Struct, frozen=True):
    """At this time every replica is replaced, with so many more than wanted at once, and so many fewer ready; shares
    of the wanted, rounded up and down as Kubernetes does."""

    at_s: float
    surge: float = 0.25
    unavailable: float = 0.25


class Operations(msgspec.Struct, frozen=True):
    """How replicas start, stop and fail. A replica that leaves finishes what it holds for at most `drain_s`."""

    cold_start: ColdStartModel = ColdStartModel()
    failures: FailureModel | None = None
    updates: tuple[RollingUpdate, ...] = ()
    drain_s: float = 30.0
