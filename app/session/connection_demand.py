"""Estimate how many connections, file descriptors and local ports a run needs, and compare them
with the limits of this machine."""

from __future__ import annotations

import msgspec
import numpy as np

from app.analysis.generator_checks import FILE_DESCRIPTORS, ConnectionDemand, MachineLimits, check_demand
from app.errors import UsageError
from app.records.result import Check
from app.session.dependencies import LoadGenerator
from app.session.rates import compute_peak_rate
from app.session.spec import RunSpec
from loadgen.records import Arrivals, ClosedArrivals, Endpoint, OpenArrivals, TraceArrivals
from loadgen.workloads import LocustWorkload

_SECOND_NS = 1_000_000_000


def estimate_demand(spec: RunSpec, endpoint: Endpoint, worker_count: int, service_s: float | None) -> ConnectionDemand:
    """Estimate the number of connections needed at the highest load of all stages.

    For a search, only the start rate is included, because further rates are not known in advance.
    Stages whose rate depends on an earlier stage are not included."""
    stage_arrivals = [stage.load.arrivals for stage in spec.stages if stage.rate_share is None]
    rates = [_compute_peak_rate_per_s(arrivals) for arrivals in stage_arrivals]
    if spec.search is not None:
        rates.append(spec.search.start_per_s)
    concurrency = max(
        (arrivals.concurrency for arrivals in stage_arrivals if isinstance(arrivals, ClosedArrivals)), default=0
    )
    is_locust = isinstance(spec.workload, LocustWorkload)  # Each Locust user opens its own connections.
    return ConnectionDemand(
        concurrency=concurrency,
        rate_per_s=max(rates, default=0.0),
        service_s=service_s,
        max_connections=max(concurrency, endpoint.max_connections) if is_locust else endpoint.max_connections,
        addresses=1 if endpoint.proxy is not None else max(1, len(endpoint.urls)),
        workers=worker_count,
        has_keep_alive=endpoint.reuses_connections,
    )


def require_enough_connections(
    spec: RunSpec, endpoint: Endpoint, generator: LoadGenerator, limits: MachineLimits
) -> None:
    """Raise UsageError if this machine cannot open the connections for all clients of a closed
    loop. For open arrivals, the demand is only an estimate, so no error is raised."""
    demand = estimate_demand(spec, endpoint, _get_worker_count(generator), None)
    if not demand.concurrency:  # For an open loop, the demand is only an estimate, which at most causes a warning.
        return
    demand_within_target_limit = msgspec.structs.replace(
        demand, concurrency=min(demand.concurrency, demand.max_connections)
    )
    for check in check_demand(demand_within_target_limit, _select_applicable_limits(limits, endpoint, generator)):
        raise UsageError(f"this machine cannot open connections for {demand.concurrency:,} clients", hint=check.hint)


def check_connection_demand(
    spec: RunSpec, endpoint: Endpoint, generator: LoadGenerator, limits: MachineLimits, service_s: float | None
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Return checks that compare the expected number of connections, file descriptors and ports with their limits.
    Without any, return notes on file descriptor limits that would be exceeded if all requests timed out, as with an
    overloaded target.

    `service_s` is the service time of the preflight request in s; `None` if it is not
    representative of the load."""
    worker_count = _get_worker_count(generator)
    applicable_limits = _select_applicable_limits(limits, endpoint, generator)
    checks = check_demand(estimate_demand(spec, endpoint, worker_count, service_s), applicable_limits)
    if checks:
        return checks, ()
    timeout_s = endpoint.timeouts.total_s
    timeout_checks = check_demand(estimate_demand(spec, endpoint, worker_count, timeout_s), applicable_limits)
    notes = (
        f"If all requests timed out (target.timeouts.total is {timeout_s:g} s), each load worker would need about "
        f"{check.value:,.0f} {check.name}, but only {check.limit:,.0f} are available."
        for check in timeout_checks
        if check.id == FILE_DESCRIPTORS
    )
    return (), tuple(notes)


def _get_worker_count(generator: LoadGenerator) -> int:
    return max(1, len(generator.workers))


def _select_applicable_limits(limits: MachineLimits, endpoint: Endpoint, generator: LoadGenerator) -> MachineLimits:
    """Return the limits of this machine that apply to the load: no limits if all workers run on
    other machines, and no port limit for a Unix socket."""
    if generator.workers and not any(worker.is_local for worker in generator.workers):
        return MachineLimits()
    return msgspec.structs.replace(limits, ports=None) if endpoint.unix_socket is not None else limits


def _compute_peak_rate_per_s(arrivals: Arrivals) -> float:
    match arrivals:
        case OpenArrivals():
            return compute_peak_rate(arrivals)
        case TraceArrivals(offsets_ns=packed_offsets):
            times_ns = np.frombuffer(packed_offsets, "<i8")
            return float(np.bincount(times_ns // _SECOND_NS).max()) if times_ns.size else 0.0
        case ClosedArrivals():
            return 0.0
