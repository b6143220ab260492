"""Calibrates the generator with the load worker of the run, on a null server."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from app.records.calibration import Calibration, Rung
from app.session.ceiling import LATE_MS, ceiling, climb, holds
from app.session.interruption import Interruption
from app.session.parts import Load, NullServer
from loadgen.records import Endpoint, HttpWorkload, StagePlan

_RUNG_S = 1.0
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
        load.configure(Endpoint(url=null_server.url), HttpWorkload(method="POST", bodies=(_BODY,)))
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
    if interruption.is_requested:
        return None
    plan = StagePlan(
        index=0, name="calibration", arrivals="poisson", rate_per_s=rate_per_s, duration_s=_RUNG_S, seed=1, drain_s=1.0
    )
    batches: list[pa.RecordBatch] = []
    ended = load.run_stage(plan, batches.append, _ignore, lambda _: True)
    if ended.stopped_early:
        return None
    table = pa.Table.from_batches(batches)
    sent = table.filter(table["sent_ns"].is_valid())
    lag_ms = (sent["sent_ns"].to_numpy() - sent["intended_ns"].to_numpy()) / 1e6
    in_time = int(np.count_nonzero(sent["sent_ns"].to_numpy() <= ended.start_ns + int((_RUNG_S + LATE_MS / 1e3) * 1e9)))
    late_share = float(np.mean(lag_ms > LATE_MS)) if lag_ms.size else 1.0
    return Rung(
        offered_per_s=rate_per_s,
        achieved_per_s=in_time / _RUNG_S,
        lag_p50_ms=float(np.median(lag_ms)) if lag_ms.size else float("inf"),
        lag_p99_ms=float(np.percentile(lag_ms, 99)) if lag_ms.size else float("inf"),
        late_share=late_share,
        worker_cpu_cores=ended.cpu_s / max(1e-9, (ended.end_ns - ended.start_ns) / 1e9),
        held=holds(in_time / max(1, ended.scheduled), late_share),
    )


_ignore: Callable[[object], None] = lambda _: None  # noqa: E731
