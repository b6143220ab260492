"""Connections, file descriptors and local ports that a run will need, compared with this machine's limits."""

from __future__ import annotations

import msgspec
import numpy as np

from app.analysis.generator_checks import FILE_DESCRIPTORS, ConnectionDemand, MachineLimits, demand_checks
from app.errors import UsageError
from app.records.result import Check
from app.session.parts import Load
from app.session.rates import highest_rate
from app.session.spec import RunSpec
from loadgen.records import Arrivals, ClosedArrivals, Endpoint, OpenArrivals, TraceArrivals
from loadgen.workloads import LocustWorkload

_SECOND_NS = 1_000_000_000


def demand_of(spec: RunSpec, endpoint: Endpoint, workers: int, service_s: float | None) -> ConnectionDemand:
    """At the peak of the stages. A search begins with its first rate: how far it gets is not known."""
    loads = [stage.arrivals for stage in spec.stages if stage.share_of is None]
    rates = [_peak_per_s(arrivals) for arrivals in loads]
    if spec.search is not None:
        rates.append(highest_rate(spec.search.arrivals) * spec.search.start_per_s)
    concurrency = max((one.concurrency for one in loads if isinstance(one, ClosedArrivals)), default=0)
    is_locust = isinstance(spec.workload, LocustWorkload)  # each of its users has connections of its own
    return ConnectionDemand(
        concurrency=concurrency,
        rate_per_s=max(rates, default=0.0),
        service_s=service_s,
        max_connections=max(concurrency, endpoint.max_connections) if is_locust else endpoint.max_connections,
        addresses=1 if endpoint.proxy is not None else max(1, len(endpoint.urls)),
        workers=workers,
        keeps_connections=endpoint.reuses_connections,
    )


def require_capacity(spec: RunSpec, endpoint: Endpoint, load: Load, limits: MachineLimits) -> None:
    """Raises UsageError for clients that cannot all have a connection here, whatever the target does."""
    demand = demand_of(spec, endpoint, _workers(load), None)
    if not demand.concurrency:  # what an open loop needs is an expectation, and only warned of
        return
    allowed = msgspec.structs.replace(demand, concurrency=min(demand.concurrency, demand.max_connections))
    for check in demand_checks(allowed, _limits_of(limits, endpoint, load)):
        raise UsageError(f"{demand.concurrency:,} clients are more than this machine can connect", hint=check.hint)


def capacity_checks(
    spec: RunSpec, endpoint: Endpoint, load: Load, limits: MachineLimits, service_s: float | None
) -> tuple[Check, ...]:
    """`service_s` is what the request of the preflight took; None where that is not what the load will see."""
    return demand_checks(demand_of(spec, endpoint, _workers(load), service_s), _limits_of(limits, endpoint, load))


def timeout_notes(spec: RunSpec, endpoint: Endpoint, load: Load, limits: MachineLimits) -> tuple[str, ...]:
    """What would be needed beyond the limits if requests took until they time out, as those of an overloaded target."""
    timeout_s = endpoint.timeouts.total_s
    checks = capacity_checks(spec, endpoint, load, limits, timeout_s)
    return tuple(
        f"If requests took until target.timeouts.total ({timeout_s:g} s), the load would need about {check.value:,.0f} "
        f"{check.name} in each load worker, and there are {check.limit:,.0f}."
        for check in checks
        if check.id == FILE_DESCRIPTORS
    )


def _workers(load: Load) -> int:
    return max(1, len(load.workers))


def _limits_of(limits: MachineLimits, endpoint: Endpoint, load: Load) -> MachineLimits:
    """None of another machine's, and no ports of a unix socket."""
    if load.workers and not any(worker.is_local for worker in load.workers):
        return MachineLimits()
    return msgspec.structs.replace(limits, ports=None) if endpoint.unix_socket is not None else limits


def _peak_per_s(arrivals: Arrivals) -> float:
    match arrivals:
        case OpenArrivals():
            return highest_rate(arrivals)
        case TraceArrivals(offsets_ns=offsets):
            times_ns = np.frombuffer(offsets, "<i8")
            return float(np.bincount(times_ns // _SECOND_NS).max()) if times_ns.size else 0.0
        case ClosedArrivals():
            return 0.0
