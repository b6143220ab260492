from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.records.calls import CALL_SCHEMA
from app.reporting.stage_times import compared_stages, stage_times
from app.storage.run_directory import RunWriter, StoredRun
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.local_runs import local_run
from tests.fakes.results import full_run


def test_an_endpoints_answers_are_those_of_the_stages_window(tmp_path: Path) -> None:
    whole = full_run()
    rows = whole.rows.reindex(columns=REQUEST_SCHEMA.names).astype(object).where(lambda frame: frame.notna(), None)
    with RunWriter(tmp_path / "run") as writer:
        for batch in pa.Table.from_pandas(rows, REQUEST_SCHEMA, preserve_index=False).to_batches():
            writer.append_requests(batch)
        writer.write_result(whole.result)
    run = StoredRun(tmp_path / "run")
    assert compared_stages(whole.result)[0] == "probe 25/s"
    assert "batch 1" not in compared_stages(whole.result)
    drawn, service = stage_times(run, whole.result, "hold 218/s")
    asked = [stage for stage in whole.result.stages if stage.name == "hold 218/s"]
    assert drawn.n == sum(stage.completed for stage in asked)
    assert drawn.share[-1] == 1.0
    assert list(drawn.ms) == sorted(drawn.ms)
    assert (drawn.label, service.label) == ("latency, from the intended start", "service time, from the send")
    assert stage_times(run, whole.result, "no such stage") == ()


def test_a_local_models_times_are_those_of_its_calls(tmp_path: Path) -> None:
    result = local_run().result
    stage = next(one for one in result.stages if one.kind != "warmup" and one.verdict.status != "INVALID")
    begin = np.arange(10, dtype=np.int64) * 1_000_000 + stage.window.start_ns
    columns = {name: pa.nulls(10, CALL_SCHEMA.field(name).type) for name in CALL_SCHEMA.names}
    columns |= {
        "stage": pa.array(np.zeros(10, np.int32)),
        "begin_ns": pa.array(begin),
        "end_ns": pa.array(begin + 2_000_000),
    }
    with RunWriter(tmp_path / "run") as writer:
        writer.append_calls(pa.RecordBatch.from_pydict(columns, CALL_SCHEMA))
        writer.write_result(result)
    (drawn,) = stage_times(StoredRun(tmp_path / "run"), result, stage.name)
    assert (drawn.label, drawn.n) == ("service time of a call", 10)
    assert set(drawn.ms) == {2.0}


@pytest.mark.parametrize("name", ["batch 1", "warm-up"])
def test_what_is_no_load_of_its_own_is_not_compared(name: str) -> None:
    assert name not in compared_stages(full_run().result)
