"""Calibrates the generator with the load workers of the run, on servers that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack

from app.records.calibration import CalibrationStep, Ceiling, LoadKind
from app.session.ceiling import ceiling, climb, disturbed_by_cores, is_at_least
from app.session.interruption import Interruption
from app.session.parts import Load, NullServer
from app.session.rungs import TRIALS, try_rate
from app.telemetry.core_use import CoreUse
from loadgen.records import Endpoint

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
