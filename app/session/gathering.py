"""The workers of a load: waited for before it, looked back on after each stage."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from app.records.result import WorkerFacts
from app.session.interruption import Interruption
from app.session.parts import Load
from app.session.stage_watch import StageWatch
from app.session.telling import Telling
from loadgen.process import LoadError
from loadgen.records import Joining, LoadWorker, StageEnded, WorkerPart


def while_gathering(telling: Telling, interruption: Interruption) -> Callable[[Joining], None]:
    """To be called now and then with who has joined; raises LoadError when nobody waits for the others any more."""
    told = ""

    def tell(joining: Joining) -> None:
        nonlocal told
        if interruption.is_requested:
            raise LoadError("the workers were not waited for")
        if (message := _waiting(joining)) != told:
            told = message
            telling.phase("workers", message)

    return tell


def facts_of(parts: Sequence[WorkerPart]) -> tuple[WorkerFacts, ...]:
    return tuple(
        WorkerFacts(
            worker=part.worker,
            host=part.host,
            pid=part.pid,
            cpu_s=part.cpu_s,
            sent=part.sent,
            max_lag_ms=part.max_lag_ms,
            clock_residual_ms=part.clock_residual_ms,
            lost_ns=part.lost_ns,
            waited_s=part.waited_s,
        )
        for part in parts
    )


def lost_stage(index: int, watch: StageWatch, start_ns: int, now_ns: int, load: Load) -> StageEnded:
    """Of a stage whose workers are all lost: what they had told."""
    everyone = load.workers or (LoadWorker(0, socket.gethostname(), load.pid, is_local=True),)
    return StageEnded(
        index=index,
        start_ns=start_ns,
        end_ns=now_ns,
        scheduled=None,
        never_started=0,
        cpu_s=0.0,
        connections_opened=0,
        stopped_early=True,
        first_errors=watch.seen,
        workers=tuple(
            WorkerPart(
                worker=one.index,
                host=one.host,
                pid=one.pid,
                cpu_s=0.0,
                sent=watch.sent_by[one.index],
                max_lag_ms=watch.max_lag_ms,
                lost_ns=now_ns,
            )
            for one in everyone
        ),
    )


def _waiting(joining: Joining) -> str:
    workers = "1 worker" if joining.expected == 1 else f"{joining.expected:,} workers"
    joined = "1 has" if joining.joined == 1 else f"{joining.joined:,} have"
    return f"waiting for {workers} at {joining.address}: {joined} joined"
