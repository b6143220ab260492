"""A run with two classes of requests in two stages."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from app.analysis.objectives import evaluate_objective, find_estimate, parse_objective
from app.analysis.stages import summarize_stage
from app.records.result import Result
from app.records.stage import ClassShare
from app.storage.run_directory import StoredRun
from loadgen.workloads import HttpWorkload, MixedWorkload, WorkloadClass
from tests.fakes.bench import SPEC
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.queues import START_NS, build_stage_data
from tests.fakes.results import full_run
from tests.fakes.stored_runs import stored_run
from tests.fakes.streams import StreamedResponse, stream_rows

SLO = (parse_objective("ttft_ms.p95{class=chat} < 10"), parse_objective("latency_ms.p95 < 500"))


def class_result(names: tuple[str, str] = ("chat", "batch")) -> Result:
    """400 requests of 10 ms and 100 of 100 ms, in a stage that met the SLO and one that missed it."""
    shares = tuple(map(ClassShare, names, (0.8, 0.2)))
    stages = []
    for stage_name, slow_ms in (("calm", 0.0), ("peak", 20.0)):
        stage_data = msgspec.structs.replace(
            build_stage_data(50, 10, arrivals="constant"), name=stage_name, classes=shares
        )
        stages.append(summarize_stage(class_rows(slow_ms), None, stage_data, SLO))
    last_stage = msgspec.structs.replace(stages[-1], in_headline=True)
    slo = tuple(
        msgspec.structs.replace(
            evaluate_objective(objective, find_estimate(last_stage, objective)), stage=last_stage.name
        )
        for objective in SLO
    )
    result = full_run().result
    return msgspec.structs.replace(
        result,
        stages=(stages[0], last_stage),
        slo=slo,
        gates=(),
        max_rate=None,
        plan=None,
        knees=(),
        clock=msgspec.structs.replace(result.clock, load_start_ns=START_NS),
    )


def stored_class_run(directory: Path) -> StoredRun:
    """A run of three classes over HTTP, of which the last misses its SLO."""
    workloads = [WorkloadClass(name, weight, HttpWorkload()) for name, weight in (("a", 2), ("b", 1), ("c", 1))]
    spec = msgspec.structs.replace(
        SPEC,
        workload=MixedWorkload(tuple(workloads)),
        slo=(parse_objective("latency_ms.p95 < 1000"), parse_objective("latency_ms.p50{class=c} < 0.1")),
    )
    clock = FakeClock()
    return stored_run(directory, spec, ScriptedLoad(clock, service_s=0.003, classes=3), clock=clock)


def class_rows(slow_ms: float = 0.0) -> pd.DataFrame:
    answers = [_answer(20.0 * index, 100.0 if index % 5 == 4 else 10.0 + slow_ms) for index in range(500)]
    numbers = pd.array(np.resize([0, 0, 0, 0, 1], 500), dtype="Int16")
    return stream_rows(answers).assign(**{"class": numbers})


def _answer(at_ms: float, latency_ms: float) -> StreamedResponse:
    return StreamedResponse(
        scheduled_ms=at_ms,
        chunks_ms=(at_ms + latency_ms / 2, at_ms + latency_ms),
        tokens=(1, 1),
        tokens_in=7,
        tokens_out=2,
    )
