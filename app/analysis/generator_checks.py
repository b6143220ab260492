"""Did the generator keep up, and how near was it to the most that it can do?

Whatever it could not send in time is its own fault, however good the answers look that it did ask
for.

Limits of the load generator's own machine: file descriptors, local ports, connections, memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Nanoseconds
from app.analysis.rows import StageRows
from app.analysis.spans import FROM_INTENDED
from app.analysis.validity import grade_high, grade_low
from app.records.result import Check, CheckId, Objective, Window
from app.records.stage import StageFacts

LATE_MS = 10.0
CEILING_SHARE = 0.70
"""Of the ceiling: the most that a generator can vouch for. A queue that its requests wait in grows fast beyond."""
_CEILING_INVALID = 0.85
_LATE_AT_MOST_MS = 100.0
_WAIT_BORNE = 0.5
_WAIT_WARN, _WAIT_INVALID = 0.05, 0.15
"""Of the time, beyond so much of what the worker ran itself: where its endpoint has the same cores, the two pass them
to and fro. Measured on two cores: at most 0.03 in 51 stages of a quiet machine, of a quickstart and on null servers,
though a closed loop of 32 waited up to 0.38 of the time; beside two busy loops 0.35 and 0.43 in closed loops, beside
four 0.31 and 0.52."""
_WITH_LIMITS = ("service_ms", *FROM_INTENDED)
_SECOND_NS = 1_000_000_000


class GeneratorDemand(msgspec.Struct, frozen=True):
    """What a stage asks of the generator: requests and chunks of streams a second, and the share of its ceilings that
    they are together; None where a ceiling is not known."""

    requests_per_s: float
    chunks_per_s: float
    share: float | None

    def vouched_per_s(self, ceiling_per_s: float | None) -> float | None:
        """The highest rate of requests such as these at which the share would not be too much."""
        if self.share:
            return self.requests_per_s * CEILING_SHARE / self.share
        return None if self.share is None or ceiling_per_s is None else CEILING_SHARE * ceiling_per_s


def generator_checks(rows: StageRows, facts: StageFacts, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    """`rows` are those of arrivals inside the window."""
    if facts.arrival_kind == "locust":
        hint = "It is found for Sizewise's own requests only: how fast a Locust test can send shows in its CPU."
        return (Check("generator_ceiling", None, None, "share", "VALID", hint), _cpu_check(facts), _wait_check(facts))
    demand = demand_of(rows, facts, window)
    vouched = _vouched(demand, facts)
    return (
        *_lag_checks(rows, slo, vouched),
        _sent_check(rows, window, vouched),
        _ceiling_check(demand, facts, vouched),
        _cpu_check(facts, vouched),
        _wait_check(facts),
    )


def demand_of(rows: StageRows, facts: StageFacts, window: Window) -> GeneratorDemand:
    """Requests and chunks cost the same CPU, so their shares add up. Requests count when they were due, whether or not
    they could be sent. Chunks count when they came or, where a generator too busy to read them put that off, as many as
    the answers to those requests have. Where the rate changes the busiest second counts."""
    is_changing = facts.kind in ("varying", "spike")
    requests_per_s = _per_s(rows.intended_ns, window, is_changing)
    chunks_per_s = 0.0
    if rows.tokens is not None and (chunks := rows.tokens.chunks) is not None and rows.was_sent.any():
        in_answer = float(np.mean(chunks.counts[rows.tokens.place][rows.was_sent]))
        chunks_per_s = max(_per_s(chunks.times_ns, window, is_changing), requests_per_s * in_answer)
    parts = [(requests_per_s, facts.ceiling_per_s)]
    if chunks_per_s:
        parts.append((chunks_per_s, facts.chunk_ceiling_per_s))
    shares = [per_s / ceiling for per_s, ceiling in parts if ceiling]
    return GeneratorDemand(requests_per_s, chunks_per_s, sum(shares) if len(shares) == len(parts) else None)


def _per_s(times_ns: Nanoseconds, window: Window, is_changing: bool) -> float:
    length_ns = max(1, window.end_ns - window.start_ns)
    after_ns = times_ns[(times_ns >= window.start_ns) & (times_ns < window.end_ns)] - window.start_ns
    if is_changing and length_ns >= _SECOND_NS and after_ns.size:
        return float(np.bincount(after_ns // _SECOND_NS).max())
    return float(after_ns.size / (length_ns / 1e9))


def _vouched(demand: GeneratorDemand, facts: StageFacts) -> str:
    """A sentence with the rate that this generator can vouch for; empty where that is not known."""
    per_s = demand.vouched_per_s(facts.ceiling_per_s)
    if per_s is None or demand.share is None:
        return ""
    what = "streams like these" if demand.chunks_per_s else "requests"
    where = "" if demand.share > CEILING_SHARE else " where nothing else keeps its machine busy"
    return f" This generator can vouch for up to {per_s:,.0f} {what} a second{where}."


def _lag_checks(rows: StageRows, slo: Sequence[Objective], vouched: str) -> tuple[Check, Check]:
    """Lateness that is little beside what the SLO allows is borne, but never a tenth of a second: by then the endpoint
    gets another load than the one stated."""
    limits_ms = [one.limit for one in slo if one.metric in _WITH_LIMITS and one.comparator in ("<", "<=")]
    late_ms = min(_LATE_AT_MOST_MS, max(LATE_MS, 0.05 * min(limits_ms, default=0.0)))
    lag_ms = (rows.sent_ns - rows.intended_ns)[rows.was_sent] / 1e6
    hint = f"Requests left over {late_ms:g} ms late: lower the rate, or run the generator on a quieter machine."
    late = grade_high(
        "late_sends",
        float(np.mean(lag_ms > late_ms)) if lag_ms.size else None,
        unit="share",
        warn=0.01,
        invalid=0.01,
        hint=hint + vouched if lag_ms.size else "Nothing was sent.",
    )
    lag = grade_high(
        "send_lag_p99",
        float(np.quantile(lag_ms, 0.99, method="inverted_cdf")) if lag_ms.size else None,
        unit="ms",
        warn=5.0,
        hint="Latency from the intended time includes this delay of the generator: stop other work on its machine.",
    )
    return late, lag


def _sent_check(rows: StageRows, window: Window, vouched: str) -> Check:
    in_time = rows.was_sent & (rows.sent_ns < window.end_ns)
    return grade_low(
        "achieved_of_offered",
        float(np.mean(in_time)) if in_time.size else None,
        unit="share",
        warn=0.98,
        invalid=0.95,
        hint=f"Arrivals were not sent in time, for want of CPU or of connections: lower the rate.{vouched}",
    )


def _ceiling_check(demand: GeneratorDemand, facts: StageFacts, vouched: str) -> Check:
    """Never INVALID by a ceiling that is a lower bound: what is late shows in the other checks."""
    more = _PERHAPS_MORE if facts.ceiling_is_at_least else _MORE
    return grade_high(
        "generator_ceiling",
        demand.share,
        unit="share",
        warn=CEILING_SHARE,
        invalid=math.inf if facts.ceiling_is_at_least else _CEILING_INVALID,
        hint=_unknown(facts) if demand.share is None else f"{_beside(demand, facts)}{vouched} {more}",
    )


_MORE = "Lower the rate, or use more workers or a faster machine for it."
_PERHAPS_MORE = (
    "Perhaps it can do more: run `sizewise calibrate` while nothing else keeps its machine busy, or lower the rate."
)


def _unknown(facts: StageFacts) -> str:
    what = "how much this generator can send" if facts.ceiling_per_s is None else "how many streams it can read"
    return (
        f"Run `sizewise calibrate` on each machine that sends, while nothing else keeps it busy: {what} is not known."
    )


def _beside(demand: GeneratorDemand, facts: StageFacts) -> str:
    before, after = ("at least ", "") if facts.ceiling_is_at_least else ("", " at most")
    can_send, can_read = f"{before}{facts.ceiling_per_s:,.0f}", f"{before}{facts.chunk_ceiling_per_s or 0:,.0f}"
    requests = f"{demand.requests_per_s:,.0f} requests a second of the {can_send} it can send{after}"
    if not demand.chunks_per_s:
        return f"{requests}."
    chunks = f"{demand.chunks_per_s:,.0f} chunks a second of the {can_read} it can read{after}"
    return f"{requests}, and {chunks}: both are done by the same CPU."


def _cpu_check(facts: StageFacts, vouched: str = "") -> Check:
    """Of the busiest worker of which it is known; a lost one did not tell."""
    told_s = [worker.cpu_s for worker in facts.workers if worker.lost_ns is None]
    cpu_s = max(told_s, default=None if facts.workers else facts.worker_cpu_s)
    return grade_high(
        "generator_cpu",
        None if cpu_s is None else cpu_s / _sending_s(facts),
        unit="cores",
        warn=0.70,
        invalid=0.90,
        hint=f"A load worker has one core: lower the rate, or use more workers.{vouched}",
    )


def _wait_check(facts: StageFacts) -> Check:
    """Of the worker that waited most beyond what is borne. Neither lag nor CPU tells that it had to wait, where answers
    decide when it sends next, or while it reads streams."""
    waited_s = [(one.waited_s, one.cpu_s) for one in facts.workers] or [(facts.worker_waited_s, facts.worker_cpu_s)]
    beyond_s = [max(0.0, waited - _WAIT_BORNE * ran) for waited, ran in waited_s if waited is not None]
    if not beyond_s:
        return Check("generator_core_wait", None, None, "share", "VALID")
    return grade_high(
        "generator_core_wait",
        max(beyond_s) / _sending_s(facts),
        unit="share",
        warn=_WAIT_WARN,
        invalid=_WAIT_INVALID,
        hint="A load worker was ready and had no core for so much of the time, beyond half of what it ran: it sent and "
        "read later than it could have. End other work on its machine, or give it more cores.",
    )


def _sending_s(facts: StageFacts) -> float:
    """What a worker does is counted from the lead-in on."""
    return max(1e-9, (facts.end_ns - facts.start_ns) / 1e9 + facts.lead_in_s)


LOCAL_LIMITS: CheckId = "local_limits"
FILE_DESCRIPTORS: CheckId = "file_descriptors"
_ERROR = "local-limit"
_OWN_DESCRIPTORS = 64
"""What a load worker has open besides its connections."""
_TIME_WAIT_S = 60.0
"""How long Linux keeps the local port of a connection that was closed."""
_ROOM = 1.25
"""Poisson arrivals are sometimes closer together than on average."""


class MachineLimits(msgspec.Struct, frozen=True):
    """Of this machine; None where there is no limit or it is not known. `descriptors` are of one load worker, `ports`
    are the local ports to one address of the target."""

    descriptors: int | None = None
    ports: int | None = None


class ConnectionDemand(msgspec.Struct, frozen=True, kw_only=True):
    """What a load needs at its peak. `service_s` is what one request takes, None before it is known."""

    concurrency: int = 0
    rate_per_s: float = 0.0
    service_s: float | None = None
    max_connections: int
    addresses: int = 1
    workers: int = 1
    keeps_connections: bool = True

    @property
    def connections(self) -> int:
        """Of all workers together."""
        open_loop = math.ceil(_ROOM * self.rate_per_s * (self.service_s or 0.0))
        return min(self.max_connections, max(self.concurrency, open_loop))

    @property
    def descriptors(self) -> int:
        """Of each worker."""
        return math.ceil(self.connections / self.workers) + _OWN_DESCRIPTORS

    @property
    def ports(self) -> int:
        """To each address."""
        waiting = 0.0 if self.keeps_connections else _TIME_WAIT_S * max(self.rate_per_s, self._closed_rate_per_s)
        return math.ceil((self.connections + waiting) / self.addresses)

    @property
    def _closed_rate_per_s(self) -> float:
        return min(self.concurrency, self.max_connections) / self.service_s if self.service_s else 0.0


def demand_checks(demand: ConnectionDemand, limits: MachineLimits) -> tuple[Check, ...]:
    """A WARN for each limit that the load is expected to reach, with the value needed; before anything is sent."""
    checks = []
    if demand.concurrency > demand.max_connections:
        hint = (
            f"{demand.concurrency:,} clients share {demand.max_connections:,} connections, so the others wait: "
            f"set target.max_connections to {demand.concurrency:,}."
        )
        checks.append(_check("connections", demand.concurrency, demand.max_connections, hint))
    if limits.descriptors is not None and demand.descriptors > limits.descriptors:
        hint = (
            f"A load worker needs about {demand.descriptors:,} open files and may have {limits.descriptors:,}: "
            f"raise the hard limit (`ulimit -Hn {demand.descriptors}`), use more workers, or lower the load."
        )
        checks.append(_check(FILE_DESCRIPTORS, demand.descriptors, limits.descriptors, hint))
    if limits.ports is not None and demand.ports > limits.ports:
        hint = (
            f"The load needs about {demand.ports:,} local ports and this machine has {limits.ports:,}: widen "
            "net.ipv4.ip_local_port_range, let the target keep connections open, or send from more machines."
        )
        checks.append(_check("local_ports", demand.ports, limits.ports, hint))
    return tuple(checks)


def local_limit_check(rows: StageRows, facts: StageFacts) -> tuple[Check, ...]:
    """INVALID where requests failed by a limit of the machine that sends: the target never got them."""
    failed = rows.errors().get(_ERROR, 0)
    if not failed:
        return ()
    sample = next((one.text for one in facts.error_samples if one.error == _ERROR), None)
    why = "" if sample is None else f" ({sample})"
    hint = (
        f"{failed:,} requests failed by a limit of the load generator's machine and not by the target{why}: raise the "
        "limit (`ulimit -n` for open files), use more workers or machines, or lower the load."
    )
    return (Check(LOCAL_LIMITS, failed / len(rows.intended_ns), 0.0, "share", "INVALID", hint),)


def _check(check: CheckId, needed: int, limit: int, hint: str) -> Check:
    return Check(check, float(needed), float(limit), None, "WARN", hint)
