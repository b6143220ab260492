"""Check whether the load generator kept up, and how close it was to its capacity.

If requests are not sent in time, the load generator is at fault, even if all other requests
succeed. Limits of the load generator's machine are also checked: file descriptors, local ports,
connections and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats, Nanoseconds
from app.analysis.rows import StageRows
from app.analysis.spans import SCHEDULED_START_METRICS
from app.analysis.validity import check_lower_limit, check_upper_limit, require_evidence
from app.records.result import Check, CheckId, Objective, Window
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS

MIN_LATE_MS = 10.0
MAX_UTILIZATION = 0.70
"""Maximum utilization at which the load generator is reliable. Above this utilization, requests
queue inside the generator itself."""
_INVALID_UTILIZATION = 0.85
_LOW_UTILIZATION = 0.1
"""Utilization below which a lower rate would not help the load generator: something else delays it."""
_MAX_LATE_MS = 100.0
_MAX_LATE_SHARE = 0.01
_WARN_SENT_SHARE, _INVALID_SENT_SHARE = 0.98, 0.95
_ALLOWED_WAIT_PER_CPU_TIME = 0.5
_WARN_WAIT_SHARE, _INVALID_WAIT_SHARE = 0.05, 0.15
"""Limits on the proportion of time that a worker waits for a CPU core. Waits of up to half of the
worker's own CPU time are not counted, because an endpoint on the same cores alternates with the
worker.

Measured on two cores: at most 0.03 in 51 stages of a quickstart and of null servers on an otherwise
idle machine, although the waits of a closed loop of 32 clients took up to 0.38 of the time. With
two competing CPU-bound processes, closed loops reached 0.35 and 0.43; with four, 0.31 and 0.52."""
_LIMITED_METRICS = ("service_ms", *SCHEDULED_START_METRICS)
_SECOND_NS = 1_000_000_000


class GeneratorDemand(msgspec.Struct, frozen=True):
    """Load of a stage on the load generator: requests and stream chunks per second, and the
    utilization of the generator by both together (`None` if a capacity is unknown)."""

    requests_per_s: float
    chunks_per_s: float
    utilization: float | None

    def compute_reliable_rate_per_s(self, capacity_per_s: float | None) -> float | None:
        """Compute the highest rate of similar requests per second at which the generator is
        reliable; `None` if unknown. `capacity_per_s` is used if the stage caused no utilization."""
        if self.utilization:
            return self.requests_per_s * MAX_UTILIZATION / self.utilization
        return None if self.utilization is None or capacity_per_s is None else MAX_UTILIZATION * capacity_per_s


def check_generator(
    rows: StageRows, stage_data: StageData, window: Window, slo: Sequence[Objective]
) -> tuple[Check, ...]:
    """Run the load generator checks. `rows` holds the requests scheduled inside the window."""
    if stage_data.arrival_kind == "locust":
        hint = (
            "The capacity applies to Sizewise's own load generator only. For a Locust test, see the load generator CPU."
        )
        return (
            Check("generator_capacity", None, None, "share", "VALID", hint),
            _check_cpu(stage_data),
            _check_core_wait(stage_data),
        )
    demand = compute_demand(rows, stage_data, window)
    reliable_rate_text = _format_reliable_rate(demand, stage_data)
    return (
        *_check_lag(rows, slo, demand, reliable_rate_text),
        _check_sent_proportion(rows, window, slo, reliable_rate_text),
        _check_capacity(demand, stage_data, reliable_rate_text),
        _check_cpu(stage_data, reliable_rate_text),
        _check_core_wait(stage_data),
    )


def compute_demand(rows: StageRows, stage_data: StageData, window: Window) -> GeneratorDemand:
    """Compute the load of a stage on the generator.

    Requests and chunks use the same CPU, so their utilizations are added. Requests count at their
    scheduled start, even if they were not sent. Chunks count at the time of receipt. Because an
    overloaded generator reads chunks late, the chunk rate is at least the request rate times the
    mean number of chunks per response. If the rate varies, the busiest second counts.
    """
    has_varying_rate = STAGE_KINDS[stage_data.kind].has_changing_rate
    requests_per_s = _compute_rate(rows.scheduled_ns, window, has_varying_rate)
    chunks_per_s = 0.0
    if rows.tokens is not None and (chunks := rows.tokens.chunks) is not None and rows.was_sent.any():
        chunks_per_response = float(np.mean(chunks.counts[rows.tokens.chunk_index][rows.was_sent]))
        chunks_per_s = max(
            _compute_rate(chunks.times_ns, window, has_varying_rate), requests_per_s * chunks_per_response
        )
    rates_and_capacities = [(requests_per_s, stage_data.generator_capacity_per_s)]
    if chunks_per_s:
        rates_and_capacities.append((chunks_per_s, stage_data.generator_chunk_capacity_per_s))
    utilizations = [
        rate_per_s / capacity_per_s for rate_per_s, capacity_per_s in rates_and_capacities if capacity_per_s
    ]
    return GeneratorDemand(
        requests_per_s, chunks_per_s, sum(utilizations) if len(utilizations) == len(rates_and_capacities) else None
    )


def _compute_rate(times_ns: Nanoseconds, window: Window, has_varying_rate: bool) -> float:
    duration_ns = max(1, window.end_ns - window.start_ns)
    offsets_ns = times_ns[(times_ns >= window.start_ns) & (times_ns < window.end_ns)] - window.start_ns
    if has_varying_rate and duration_ns >= _SECOND_NS and offsets_ns.size:
        return float(np.bincount(offsets_ns // _SECOND_NS).max())
    return float(offsets_ns.size / (duration_ns / 1e9))


def _format_reliable_rate(demand: GeneratorDemand, stage_data: StageData) -> str:
    """Describe up to which rate the generator is reliable, as a sentence with a leading space;
    empty if unknown."""
    rate_per_s = demand.compute_reliable_rate_per_s(stage_data.generator_capacity_per_s)
    if rate_per_s is None or demand.utilization is None:
        return ""
    load_text = " with streams such as those of this stage" if demand.chunks_per_s else ""
    condition = "" if demand.utilization > MAX_UTILIZATION else " if nothing else uses the CPU of its machine"
    return f" This load generator is reliable up to {rate_per_s:,.0f} req/s{load_text}{condition}."


def _compute_late_threshold_ms(slo: Sequence[Objective]) -> float:
    """Return the send lag in ms above which a request is late. A send lag that is small compared
    with the SLO limit is accepted. A lag above 100 ms is never accepted, because the endpoint would
    then receive a different load."""
    limits_ms = [
        objective.limit
        for objective in slo
        if objective.metric in _LIMITED_METRICS and objective.comparator in ("<", "<=")
    ]
    return min(_MAX_LATE_MS, max(MIN_LATE_MS, 0.05 * min(limits_ms, default=0.0)))


def _check_lag(
    rows: StageRows, slo: Sequence[Objective], demand: GeneratorDemand, reliable_rate_text: str
) -> tuple[Check, Check]:
    """Check how late requests were sent."""
    late_threshold_ms = _compute_late_threshold_ms(slo)
    lag_ms = _compute_lag_ms(rows)[rows.was_sent]
    late_count = int(np.count_nonzero(lag_ms > late_threshold_ms))
    is_rate_low = demand.utilization is not None and demand.utilization < _LOW_UTILIZATION
    advice = "Stop other work" if is_rate_low else "Lower the rate, or stop other work"
    hint = f"Requests were sent more than {late_threshold_ms:g} ms late. {advice} on the load generator's machine."
    late_check = check_upper_limit(
        "late_sends",
        late_count / lag_ms.size if lag_ms.size else None,
        unit="share",
        warn=_MAX_LATE_SHARE,
        invalid=_MAX_LATE_SHARE,
        hint=hint + reliable_rate_text if lag_ms.size else "No requests were sent.",
    )
    lag_check = check_upper_limit(
        "send_lag_p99",
        float(np.quantile(lag_ms, 0.99, method="inverted_cdf")) if lag_ms.size else None,
        unit="ms",
        warn=5.0,
        hint=(
            "Latency from the scheduled start includes this delay of the load generator. Stop other work on its "
            "machine."
        ),
    )
    return require_evidence(late_check, late_count, lag_ms.size, _MAX_LATE_SHARE), lag_check


def _check_sent_proportion(rows: StageRows, window: Window, slo: Sequence[Objective], reliable_rate_text: str) -> Check:
    """Check the proportion of requests that were sent before the end of the window. A request that
    was scheduled just before the end, such as the last one of a stage with a number of requests, may
    be sent after it as long as it is not late."""
    is_punctual = _compute_lag_ms(rows) <= _compute_late_threshold_ms(slo)
    is_in_time = rows.was_sent & ((rows.sent_ns < window.end_ns) | is_punctual)
    missing_count = int(np.count_nonzero(~is_in_time))
    check = check_lower_limit(
        "achieved_of_offered",
        float(np.mean(is_in_time)) if is_in_time.size else None,
        unit="share",
        warn=_WARN_SENT_SHARE,
        invalid=_INVALID_SENT_SHARE,
        hint="Requests were not sent on time, because the load generator ran out of CPU time or connections. Lower the "
        f"rate.{reliable_rate_text}",
    )
    return require_evidence(check, missing_count, is_in_time.size, 1 - _INVALID_SENT_SHARE)


def _compute_lag_ms(rows: StageRows) -> Floats:
    lag_ms: Floats = (rows.sent_ns - rows.scheduled_ns) / 1e6
    return lag_ms


def _check_capacity(demand: GeneratorDemand, stage_data: StageData, reliable_rate_text: str) -> Check:
    """Check the utilization of the generator. If the capacity is a lower bound, the check is never
    INVALID, because the checks on late requests detect an overload."""
    remedy = _LOWER_BOUND_HINT if stage_data.is_generator_capacity_lower_bound else _CAPACITY_HINT
    return check_upper_limit(
        "generator_capacity",
        demand.utilization,
        unit="share",
        warn=MAX_UTILIZATION,
        invalid=math.inf if stage_data.is_generator_capacity_lower_bound else _INVALID_UTILIZATION,
        hint=_format_unknown_capacity(stage_data)
        if demand.utilization is None
        else f"{_format_load(demand, stage_data)}{reliable_rate_text} {remedy}",
    )


_CAPACITY_HINT = "Lower the rate, or use more workers or a faster machine."
_LOWER_BOUND_HINT = (
    "The capacity may be higher. Run `sizewise calibrate` while nothing else uses the machine, or lower the rate."
)


def _format_unknown_capacity(stage_data: StageData) -> str:
    noun = "requests" if stage_data.generator_capacity_per_s is None else "streams"
    return (
        f"The load generator's capacity for {noun} is unknown. Run `sizewise calibrate` on each machine that generates "
        "load, while nothing else uses the machine."
    )


def _format_load(demand: GeneratorDemand, stage_data: StageData) -> str:
    prefix, suffix = ("at least ", "") if stage_data.is_generator_capacity_lower_bound else ("", " at most")
    send_capacity_text, read_capacity_text = (
        f"{prefix}{stage_data.generator_capacity_per_s:,.0f} req/s",
        f"{prefix}{stage_data.generator_chunk_capacity_per_s or 0:,.0f} chunks/s",
    )
    requests_text = (
        f"The stage needs {demand.requests_per_s:,.0f} req/s; the load generator can send {send_capacity_text}{suffix}"
    )
    if not demand.chunks_per_s:
        return f"{requests_text}."
    chunks_text = (
        f"It also needs {demand.chunks_per_s:,.0f} chunks/s; the load generator can read {read_capacity_text}{suffix}"
    )
    return f"{requests_text}. {chunks_text}. Both use the same CPU."


def _check_cpu(stage_data: StageData, reliable_rate_text: str = "") -> Check:
    """Check the CPU time of the most utilized worker. Lost workers are ignored, because they do not
    report CPU time."""
    reported_cpu_s = [worker.cpu_s for worker in stage_data.workers if worker.lost_ns is None]
    cpu_s = max(reported_cpu_s, default=None if stage_data.workers else stage_data.worker_cpu_s)
    return check_upper_limit(
        "generator_cpu",
        None if cpu_s is None else cpu_s / _compute_sending_time_s(stage_data),
        unit="cores",
        warn=0.70,
        invalid=0.90,
        hint=f"A load worker has one core. Lower the rate, or use more workers.{reliable_rate_text}",
    )


def _check_core_wait(stage_data: StageData) -> Check:
    """Check how long workers waited for a CPU core beyond the allowed time, using the worker with
    the longest wait. In a closed loop, or while reading streams, such waits affect neither the send
    lag nor the CPU time."""
    wait_and_cpu_times_s = [(worker.cpu_wait_s, worker.cpu_s) for worker in stage_data.workers] or [
        (stage_data.worker_cpu_wait_s, stage_data.worker_cpu_s)
    ]
    excess_waits_s = [
        max(0.0, wait_s - _ALLOWED_WAIT_PER_CPU_TIME * cpu_s)
        for wait_s, cpu_s in wait_and_cpu_times_s
        if wait_s is not None
    ]
    if not excess_waits_s:
        return Check("generator_core_wait", None, None, "share", "VALID")
    return check_upper_limit(
        "generator_core_wait",
        max(excess_waits_s) / _compute_sending_time_s(stage_data),
        unit="share",
        warn=_WARN_WAIT_SHARE,
        invalid=_INVALID_WAIT_SHARE,
        hint="The load generator had to wait for a CPU core, so it sent requests and read responses late. Stop other "
        "work on its machine, or add cores.",
    )


def _compute_sending_time_s(stage_data: StageData) -> float:
    """Return the time in s during which workers sent requests, including the lead-in; at least 0.1 s
    in a closed loop, because starting and ending a stage takes milliseconds of CPU time, as long as
    a closed loop of a few requests may take."""
    min_time_s = _MIN_CLOSED_LOOP_TIME_S if stage_data.is_closed_loop else 1e-9
    return max(min_time_s, (stage_data.end_ns - stage_data.start_ns) / 1e9 + stage_data.lead_in_s)


_MIN_CLOSED_LOOP_TIME_S = 0.1
LOCAL_LIMITS: CheckId = "local_limits"
FILE_DESCRIPTORS: CheckId = "file_descriptors"
_LOCAL_LIMIT_ERROR = "local-limit"
_BASE_DESCRIPTORS = 64
"""Number of file descriptors that a load worker uses in addition to its connections."""
_TIME_WAIT_S = 60.0
"""Duration for which Linux reserves the local port of a closed connection (TIME_WAIT), in s."""
_CONNECTION_HEADROOM = 1.25
"""Headroom factor on the number of connections for Poisson arrivals, which come in bursts."""


class MachineLimits(msgspec.Struct, frozen=True):
    """Limits of this machine; a limit is `None` if it is unlimited or unknown. `descriptors` is the
    number of open files per load worker, `ports` the number of local ports per target address."""

    descriptors: int | None = None
    ports: int | None = None


class ConnectionDemand(msgspec.Struct, frozen=True, kw_only=True):
    """Resources that a load needs at its peak. `service_s` is the service time of one request in s;
    `None` if the service time is not known yet."""

    concurrency: int = 0
    rate_per_s: float = 0.0
    service_s: float | None = None
    max_connections: int
    addresses: int = 1
    workers: int = 1
    has_keep_alive: bool = True

    @property
    def connections(self) -> int:
        """Number of connections needed, over all workers."""
        open_loop_connections = math.ceil(_CONNECTION_HEADROOM * self.rate_per_s * (self.service_s or 0.0))
        return min(self.max_connections, max(self.concurrency, open_loop_connections))

    @property
    def descriptors(self) -> int:
        """Number of file descriptors needed per worker."""
        return math.ceil(self.connections / self.workers) + _BASE_DESCRIPTORS

    @property
    def ports(self) -> int:
        """Number of local ports needed per target address."""
        time_wait_count = 0.0 if self.has_keep_alive else _TIME_WAIT_S * max(self.rate_per_s, self._closed_rate_per_s)
        return math.ceil((self.connections + time_wait_count) / self.addresses)

    @property
    def _closed_rate_per_s(self) -> float:
        return min(self.concurrency, self.max_connections) / self.service_s if self.service_s else 0.0


def check_demand(demand: ConnectionDemand, limits: MachineLimits) -> tuple[Check, ...]:
    """Return a WARN check for each limit of this machine that the load is expected to exceed,
    before any request is sent. Each check states the value that the load needs."""
    checks = []
    if demand.concurrency > demand.max_connections:
        hint = (
            f"{demand.concurrency:,} clients share {demand.max_connections:,} connections, so some clients wait. Set "
            f"target.max_connections to {demand.concurrency:,}."
        )
        checks.append(_build_limit_check("connections", demand.concurrency, demand.max_connections, hint))
    if limits.descriptors is not None and demand.descriptors > limits.descriptors:
        hint = (
            f"A load worker needs about {demand.descriptors:,} open files, but the limit is {limits.descriptors:,}. "
            f"Raise the hard limit (`ulimit -Hn {demand.descriptors}`), use more workers, or lower the load."
        )
        checks.append(_build_limit_check(FILE_DESCRIPTORS, demand.descriptors, limits.descriptors, hint))
    if limits.ports is not None and demand.ports > limits.ports:
        hint = (
            f"The load needs about {demand.ports:,} local ports, but this machine has {limits.ports:,}. Widen "
            "net.ipv4.ip_local_port_range, enable keep-alive on the target, or send from more machines."
        )
        checks.append(_build_limit_check("local_ports", demand.ports, limits.ports, hint))
    return tuple(checks)


def check_local_limits(rows: StageRows, stage_data: StageData) -> tuple[Check, ...]:
    """Return an INVALID check if requests failed because of a limit of the load generator's machine
    and therefore never reached the target; otherwise return no check."""
    failed_count = rows.count_errors().get(_LOCAL_LIMIT_ERROR, 0)
    if not failed_count:
        return ()
    error_text = next((sample.text for sample in stage_data.error_samples if sample.error == _LOCAL_LIMIT_ERROR), None)
    detail = "" if error_text is None else f" ({error_text})"
    hint = (
        f"{failed_count:,} requests failed because of a limit of the load generator's machine, not of the "
        f"target{detail}. Raise the limit (`ulimit -n` for open files), use more workers or machines, or lower the "
        "load."
    )
    return (Check(LOCAL_LIMITS, failed_count / len(rows.scheduled_ns), 0.0, "share", "INVALID", hint),)


def _build_limit_check(check_id: CheckId, needed_count: int, limit: int, hint: str) -> Check:
    return Check(check_id, float(needed_count), float(limit), None, "WARN", hint)
