"""Calibrates the generator with the load workers of the run, on servers that do nothing.

The ceiling of the load generator: the highest Poisson rate it keeps up with on a server that does
nothing.

Tries one rate on servers that do nothing, and judges what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa

from app.records.calibration import CalibrationStep, Ceiling, LoadKind
from app.session.interruption import Interruption
from app.session.parts import Load, NullServer
from app.telemetry.processes import CoreUse
from loadgen.records import REQUEST_SCHEMA, Endpoint, OpenArrivals, StageEnded, StagePlan
from loadgen.reference import null_streams
from loadgen.workloads import FixedLength, HttpWorkload, OpenAiWorkload, SyntheticPrompts, Workload

LATE_MS = 10.0
LATE_SHARE_LIMIT = 0.01
_RETRIES = 3


class Ladder(msgspec.Struct, frozen=True):
    """Rates a second: the first to be tried, and the ends that are not passed."""

    start: float
    lowest: float
    highest: float

    def times(self, workers: int) -> Ladder:
        """For so many workers, which may together get no further than one."""
        return Ladder(self.start * workers, self.lowest, self.highest * workers)


REQUESTS = Ladder(8_000.0, 250.0, 64_000.0)
CHUNKS = Ladder(16_000.0, 500.0, 128_000.0)


def holds(achieved_share: float, late_share: float) -> bool:
    """A rung holds when 99 % of its arrivals were sent in its time and at most 1 % of them, or of their chunks, were
    late."""
    return achieved_share >= 0.99 and late_share <= LATE_SHARE_LIMIT


def climb(
    try_rate: Callable[[float], CalibrationStep | None], ladder: Ladder = REQUESTS
) -> tuple[CalibrationStep, ...]:
    """Double the rate until a rung fails or the highest holds, or halve it until one holds; then try between the two.

    A rung that fails is tried once more, since a busy moment of the machine is not a limit of the generator; but only
    three are, so that it ends in time on a machine that is always busy. `try_rate` returns None when the run is being
    stopped. Every rung is returned, in the order tried.
    """
    rungs: list[CalibrationStep] = []
    retries = _RETRIES

    def held(rate: float) -> bool | None:
        nonlocal retries
        is_retry = False
        while True:
            rung = try_rate(rate)
            if rung is None:
                return None
            rungs.append(rung)
            if rung.held or is_retry or not retries:
                return rung.held
            retries, is_retry = retries - 1, True

    rate, outcome = ladder.start, held(ladder.start)
    factor = 2.0 if outcome else 0.5
    wanted = outcome
    while outcome is not None and outcome is wanted and ladder.lowest < rate < ladder.highest:
        rate *= factor
        outcome = held(rate)
    if outcome is not None and outcome is not wanted:
        held(rate / 2**0.5 if wanted else rate * 2**0.5)
    return tuple(rungs)


def ceiling(rungs: tuple[CalibrationStep, ...]) -> float | None:
    """The highest achieved rate among the rungs that held."""
    return max((rung.achieved_per_s for rung in rungs if rung.held), default=None)


def is_at_least(rungs: tuple[CalibrationStep, ...]) -> bool:
    """Whether something held, and the next higher rate did not fail by the generator."""
    return ceiling(rungs) is not None and not any(rung.is_against_generator for rung in _decisive(rungs))


def disturbed_by_cores(rungs: tuple[CalibrationStep, ...]) -> float | None:
    """What other processes used while the next higher rate, or the lowest, failed by them and not by the generator;
    None where that is not why."""
    decisive = _decisive(rungs)
    if any(rung.is_against_generator for rung in decisive):
        return None
    return max((rung.other_cores or 0.0 for rung in decisive if rung.is_disturbed), default=None)


def _decisive(rungs: tuple[CalibrationStep, ...]) -> list[CalibrationStep]:
    """The tries of the lowest rate above all that held: those beyond it failed by more."""
    highest = max((rung.offered_per_s for rung in rungs if rung.held), default=0.0)
    above = [rung for rung in rungs if rung.offered_per_s > highest]
    lowest = min((rung.offered_per_s for rung in above), default=0.0)
    return [rung for rung in above if rung.offered_per_s == lowest]


_RUNG_S = 0.75
_DRAIN_S = 0.5
_HOPELESS_MS = 100.0


class LoadTrial(msgspec.Struct, frozen=True):
    """How a kind of load is tried. `per_arrival` is what each arrival brings of what is counted; `lead_in_s` is how
    long it takes until as much ends as begins.

    `connections` are enough for a target that answers at once: more would only be opened in a stall, and cost both
    sides. `count` gives what came within the rung's time, and how much of it was late, as a share.
    """

    ladder: Ladder
    workload: Workload
    connections: int
    count: Callable[[pa.Table, int], tuple[int, float]]
    per_arrival: int = 1
    lead_in_s: float = 0.0


def try_rate(
    trial: LoadTrial,
    load: Load,
    servers: Sequence[NullServer],
    read_core_use: Callable[[Collection[int]], CoreUse | None],
    rate_per_s: float,
) -> CalibrationStep:
    """`rate_per_s` is of what the trial counts. A rung that turns out hopeless is cut, and judged by what was sent.
    `read_core_use` is of this process and others, by their ids."""
    plan = StagePlan(
        index=0,
        name="calibration",
        arrivals=OpenArrivals("poisson", ((0.0, rate_per_s / trial.per_arrival),)),
        duration_s=_RUNG_S,
        seed=1,
        lead_in_s=trial.lead_in_s,
        drain_s=_DRAIN_S,
    )
    batches: list[pa.RecordBatch] = []
    pids = {load.pid, *(worker.pid for worker in load.workers)}
    before, before_s = read_core_use(pids), [server.cpu_s() for server in servers]
    ended = load.run_stage(plan, batches.append, lambda _: None, lambda progress: progress.max_lag_ms < _HOPELESS_MS)
    used_s = [_difference(now.cpu_s(), before) for now, before in zip(servers, before_s, strict=True)]
    others, idle = _beside(before, read_core_use(pids), used_s)
    rung = _rung(trial, rate_per_s, ended, pa.Table.from_batches(batches, REQUEST_SCHEMA), used_s)
    return msgspec.structs.replace(rung, other_cores=others, idle_cores=idle)


def _beside(
    before: CoreUse | None, now: CoreUse | None, server_cpu_s: Sequence[float | None]
) -> tuple[float | None, float | None]:
    """Cores that all others used meanwhile, and that were idle."""
    if before is None or now is None or now.at_ns <= before.at_ns:
        return None, None
    elapsed_s = (now.at_ns - before.at_ns) / 1e9
    parts_s = [_difference(now.own_s, before.own_s), *server_cpu_s]
    known_s = [one for one in parts_s if one is not None]
    others_s = now.busy_s - before.busy_s - sum(known_s)
    others = max(0.0, others_s) / elapsed_s if len(known_s) == len(parts_s) else None
    return others, (now.idle_s - before.idle_s) / elapsed_s


def _rung(
    trial: LoadTrial, rate_per_s: float, ended: StageEnded, rows: pa.Table, server_cpu_s: Sequence[float | None]
) -> CalibrationStep:
    sent = rows.filter(rows["sent_ns"].is_valid())
    sent_ns, intended_ns = sent["sent_ns"].to_numpy(), sent["intended_ns"].to_numpy()
    lag_ms = (sent_ns - intended_ns) / 1e6 if len(sent_ns) else np.array([np.inf])
    in_time = int(np.count_nonzero(sent_ns <= ended.start_ns + round((_RUNG_S + LATE_MS / 1e3) * 1e9)))
    counted, late_share = trial.count(sent, ended.start_ns)
    late_share = max(late_share, float(np.mean(lag_ms > LATE_MS)))
    measured_s = (ended.end_ns - ended.start_ns) / 1e9
    used_s = max((worker.cpu_s for worker in ended.workers), default=ended.cpu_s)
    known_s = [one for one in server_cpu_s if one is not None]
    is_whole = all(worker.lost_ns is None for worker in ended.workers)
    return CalibrationStep(
        offered_per_s=rate_per_s,
        achieved_per_s=counted / min(_RUNG_S, measured_s),
        lag_p50_ms=float(np.median(lag_ms)),
        lag_p99_ms=float(np.percentile(lag_ms, 99, method="inverted_cdf")),
        late_share=late_share,
        worker_cpu_cores=used_s / (measured_s + trial.lead_in_s),
        held=is_whole and holds(in_time / max(1, cast(int, ended.scheduled)), late_share),
        server_cpu_cores=max(known_s) / (measured_s + trial.lead_in_s) if known_s else None,
    )


def _difference(now_s: float | None, before_s: float | None) -> float | None:
    return None if now_s is None or before_s is None else now_s - before_s


def _count_requests(sent: pa.Table, start_ns: int) -> tuple[int, float]:
    """Requests are late by their lag alone."""
    end_ns = start_ns + round((_RUNG_S + LATE_MS / 1e3) * 1e9)
    return int(np.count_nonzero(sent["sent_ns"].to_numpy() <= end_ns)), 0.0


def _count_chunks(sent: pa.Table, start_ns: int) -> tuple[int, float]:
    """What has not come is late, and so is every chunk of an answer that was not whole."""
    whole = sent.filter(sent["tokens_in"].is_valid())
    if not whole.num_rows:
        return 0, 1.0
    chunks = whole["chunk_ns"].combine_chunks()
    at_ns, offsets = chunks.flatten().to_numpy(), chunks.offsets.to_numpy()
    counts, firsts = np.diff(offsets), offsets[:-1] - offsets[0]
    first_due_ns = [
        null_streams.due_ns(told, int(first_ns))
        for told, first_ns in zip(whole["tokens_in"].to_pylist(), at_ns[firsts], strict=True)
    ]
    place = np.arange(at_ns.size) - np.repeat(firsts, counts)
    late_ms = (at_ns - np.repeat(first_due_ns, counts) - place * null_streams.GAP_NS) / 1e6
    in_time = int(np.count_nonzero(late_ms <= LATE_MS))
    within = int(np.count_nonzero((at_ns >= start_ns) & (at_ns < start_ns + round(_RUNG_S * 1e9))))
    return within, 1 - in_time / (sent.num_rows * null_streams.CHUNKS)


TRIALS: dict[LoadKind, LoadTrial] = {
    "plain": LoadTrial(REQUESTS, HttpWorkload(method="POST", bodies=(b"\0" * 300,)), 64, _count_requests),
    "streaming": LoadTrial(
        CHUNKS,
        OpenAiWorkload(
            "chat", "null", SyntheticPrompts(FixedLength(100), FixedLength(null_streams.CHUNKS), unique=100)
        ),
        2048,
        _count_chunks,
        per_arrival=null_streams.CHUNKS,
        lead_in_s=1.2 * null_streams.CHUNKS * null_streams.GAP_NS / 1e9,
    ),
}


_WORKERS_A_SERVER = 2
"""A null server uses 0.4 (plain) to 0.6 (streaming) of the CPU that the one worker asking it does."""
_EASY = 4.0


def find_ceiling(
    kind: LoadKind,
    load: Load,
    start_null_server: Callable[[LoadKind], NullServer],
    interruption: Interruption,
    read_core_use: Callable[[Collection[int]], CoreUse | None],
    on_rung: Callable[[CalibrationStep], None] = lambda _: None,
) -> Ceiling:
    """Of all the workers of `load`, which must be of this machine; they are to be configured again afterwards. It ends
    early when the run is being stopped.

    Raises loadgen.process.LoadError when the workers cannot go on, InstrumentError when a null server does not start.
    """
    trial, workers = TRIALS[kind], max(1, len(load.workers))
    with ExitStack() as running:
        servers = []
        for _ in range(-(-workers // _WORKERS_A_SERVER)):
            servers.append(start_null_server(kind))
            running.callback(servers[-1].close)
        endpoint = Endpoint(urls=tuple(server.url for server in servers), max_connections=trial.connections * workers)
        load.configure(endpoint, trial.workload)

        def tried(rate_per_s: float) -> CalibrationStep | None:
            rung = try_rate(trial, load, servers, read_core_use, rate_per_s)
            if interruption.is_requested:
                return None
            on_rung(rung)
            return rung

        ladder = trial.ladder.times(workers)
        # the first stage of a worker loads code and opens connections, and tells little of what comes after
        try_rate(trial, load, servers, read_core_use, ladder.start / _EASY)
        rungs = () if interruption.is_requested else climb(tried, ladder)
    return Ceiling(kind, workers, ceiling(rungs), rungs, is_at_least(rungs), disturbed_by_cores(rungs))
