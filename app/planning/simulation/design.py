"""Design of a simulated fleet: replicas, router, and classes of requests."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from app.records.offers import Router
from app.records.service import ServiceModel, TokenService

SimulatedRouter = Literal[Router, "weighted"]
ROUTERS: tuple[SimulatedRouter, ...] = (
    "round-robin", "random", "power-of-two", "least-outstanding", "least-work", "weighted", "session-hash"
)  # fmt: skip


class SimulatedClass(msgspec.Struct, frozen=True):
    """Class of simulated requests, with its share of all requests.

    A request is good if its latencies are within all limits. The token limits apply only to token
    services. `work` multiplies the service time of a request, its part of the duration of a batch,
    or its input and output tokens, depending on the service model.
    """

    share: float = 1.0
    limit_s: float = math.inf
    work: float = 1.0
    first_token_limit_s: float = math.inf
    per_token_limit_s: float = math.inf


class FleetDesign(msgspec.Struct, frozen=True):
    """Design of a simulated fleet, with one service model per replica, so replicas may differ in
    speed.

    At most `queue_limit` requests wait at a replica; additional requests are dropped. A request
    that has waited `timeout_s` seconds times out. `weights` apply to the weighted router; the
    default is each replica's max throughput. Each of the `sessions` sends requests at the same
    rate. `lengths` are equally likely pairs of input and output tokens.
    """

    services: tuple[ServiceModel, ...]
    router: SimulatedRouter = "least-outstanding"
    classes: tuple[SimulatedClass, ...] = (SimulatedClass(),)
    queue_limit: int = 10_000
    timeout_s: float = math.inf
    weights: tuple[float, ...] = ()
    sessions: int = 1000
    lengths: tuple[tuple[int, int], ...] = ((1, 1),)


def compute_max_throughput_per_s(service: ServiceModel, lengths: tuple[tuple[int, int], ...]) -> float:
    """Return the approximate throughput of a fully utilized replica in req/s. For token services,
    it is the throughput at a full batch.
    """
    if not isinstance(service, TokenService):
        return service.max_throughput_per_s
    mean_input = sum(pair[0] for pair in lengths) / len(lengths)
    mean_output = sum(pair[1] for pair in lengths) / len(lengths)
    batch_size = max(1.0, min(service.max_sequences, service.kv_tokens / (mean_input + mean_output)))
    context_tokens = batch_size * (mean_input + mean_output / 2)
    step_s = service.compute_decode_step_s(batch_size, context_tokens)
    return batch_size / (mean_output * step_s + batch_size * mean_input * service.prefill_s_per_token)
