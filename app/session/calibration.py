"""Calibrates the generator with the load worker of the run, on a null server."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import cast

import numpy as np
import pyarrow as pa

from app.records.calibration import Calibration, Rung
from app.session.ceiling import LATE_MS, ceiling, climb, holds
from app.session.interruption import Interruption
from app.session.parts import Load, NullServer
from loadgen.records import REQUEST_SCHEMA, Endpoint, HttpWorkload, OpenArrivals, StageEnded, StagePlan

_RUNG_S = 0.75
_HOPELESS_MS = 100.0
_CONNECTIONS = 64
"""Enough for a target that answers at once; more would only be opened in a stall, and cost both sides."""
_BODY = b"\0" * 300


def calibrate(
    null_server: NullServer,
    load: Load,
    *,
    fingerprint: str,
    wall_now: Callable[[], datetime.datetime],
    interruption: Interruption,
) -> Calibration:
    """Closes the null server at the end. Raises loadgen.process.LoadError when the worker cannot go on."""
    try:
        endpoint = Endpoint(urls=(null_server.url,), max_connections=_CONNECTIONS)
        load.configure(endpoint, HttpWorkload(method="POST", bodies=(_BODY,)))
        rungs = climb(lambda rate: _try_rate(load, rate, interruption))
    finally:
        null_server.close()
    return Calibration(
        ceiling_per_s=ceiling(rungs),
        rungs=rungs,
        measured_at=wall_now().isoformat(timespec="seconds"),
        fingerprint=fingerprint,
        pacing=load.pacing,
        event_loop=load.event_loop,
    )


def _try_rate(load: Load, rate_per_s: float, interruption: Interruption) -> Rung | None:
    plan = StagePlan(
        index=0,
        name="calibration",
        arrivals=OpenArrivals("poisson", ((0.0, rate_per_s),)),
        duration_s=_RUNG_S,
        seed=1,
        drain_s=0.5,
    )
    batches: list[pa.RecordBatch] = []
    ended = load.run_stage(plan, batches.append, lambda _: None, lambda progress: progress.max_lag_ms < _HOPELESS_MS)
    if interruption.is_requested:
        return None
    return _rung(rate_per_s, ended, pa.Table.from_batches(batches, REQUEST_SCHEMA))


def _rung(rate_per_s: float, ended: StageEnded, rows: pa.Table) -> Rung:
    """Of a rung that was cut because it was hopeless, what was sent until then."""
    sent = rows.filter(rows["sent_ns"].is_valid())
    sent_ns, intended_ns = sent["sent_ns"].to_numpy(), sent["intended_ns"].to_numpy()
    lag_ms = (sent_ns - intended_ns) / 1e6 if len(sent_ns) else np.array([np.inf])
    in_time = int(np.count_nonzero(sent_ns <= ended.start_ns + round((_RUNG_S + LATE_MS / 1e3) * 1e9)))
    late_share = float(np.mean(lag_ms > LATE_MS))
    elapsed_s = (ended.end_ns - ended.start_ns) / 1e9
    return Rung(
        offered_per_s=rate_per_s,
        achieved_per_s=in_time / min(_RUNG_S, elapsed_s),
        lag_p50_ms=float(np.median(lag_ms)),
        lag_p99_ms=float(np.percentile(lag_ms, 99)),
        late_share=late_share,
        worker_cpu_cores=ended.cpu_s / elapsed_s,
        held=holds(in_time / cast(int, ended.scheduled), late_share),
    )
