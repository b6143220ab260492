"""Tries one rate on servers that do nothing, and judges what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa

from app.records.calibration import CalibrationStep, LoadKind
from app.session.ceiling import CHUNKS, LATE_MS, REQUESTS, Ladder, holds
from app.session.parts import Load, NullServer
from app.telemetry.core_use import CoreUse
from loadgen.records import REQUEST_SCHEMA, OpenArrivals, StageEnded, StagePlan
from loadgen.reference import null_streams
from loadgen.workloads import FixedLength, HttpWorkload, OpenAiWorkload, SyntheticPrompts, Workload

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
