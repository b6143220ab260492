from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.rows import NOT_STARTED
from app.records.calls import CALL_SCHEMA, unpack_calls
from app.records.result import ErrorSample, Window
from app.reporting.load import find_headline_stages
from app.reporting.rows import (
    MAX_COLUMNS,
    MAX_POINTS,
    MAX_ROWS,
    MAX_STEPS,
    RequestTimes,
    build_distributions,
    build_error_rows,
    build_group_tables,
    build_heat_map,
    build_load_series,
    build_spectra,
    build_stage_distributions,
    list_comparable_stages,
    read_request_times,
)
from app.storage.run_directory import RunWriter, StoredRun
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import local_run
from tests.fakes.results import START_NS, full_run
from tests.fakes.steps import steps
from tests.fakes.traffic import locust_run, spike_run, streaming_run

_RUN = full_run().result
RESULT = msgspec.structs.replace(_RUN, clock=msgspec.structs.replace(_RUN.clock, load_start_ns=START_NS))


def build_rows(scheduled_s: list[float], latency_ms: float = 10.0, error: str | None = None) -> pd.DataFrame:
    scheduled = (START_NS + np.array(scheduled_s) * 1e9).astype(np.int64)
    end = scheduled + int(latency_ms * 1e6)
    return pd.DataFrame(
        {
            "scheduled_ns": scheduled,
            "sent_ns": pd.array(scheduled, dtype="Int64"),
            "first_byte_ns": pd.array(end, dtype="Int64"),
            "end_ns": pd.array(end, dtype="Int64"),
            "error": np.full(len(scheduled), error, dtype=object),
        }
    )


def test_load_series_has_rates_per_bin_and_good_rate_within_the_limit() -> None:
    rows = pd.concat(
        [build_rows([0.1, 0.2, 0.3]), build_rows([1.5], latency_ms=60.0), build_rows([2.5], error="timeout")]
    )
    series = build_load_series(read_request_times(rows, RESULT))

    assert series is not None
    assert series.at_s == (0.5, 1.5, 2.5)
    assert series.offered_per_s == series.sent_per_s == (3.0, 1.0, 1.0)
    assert series.completed_per_s == (3.0, 1.0, 0.0)
    assert series.good_per_s == (3.0, 0.0, 0.0)
    assert series.p95_ms == (10.0, 60.0, None)


def test_in_flight_counts_sent_requests_without_a_response() -> None:
    rows = pd.concat([build_rows([0.5], latency_ms=2000.0), build_rows([0.9], latency_ms=300.0)])
    series = build_load_series(read_request_times(rows, RESULT))
    assert series is not None
    assert series.in_flight == (2, 1, 0)


def test_load_series_of_a_long_run_has_bounded_bins_and_all_requests() -> None:
    rows = build_rows(list(np.linspace(0, 7200, 10_000)))
    series = build_load_series(read_request_times(rows, RESULT))
    assert series is not None
    assert len(series.at_s) <= MAX_POINTS
    assert sum(series.offered_per_s) * series.bin_s == pytest.approx(10_000, abs=1)


def test_errors_are_counted_by_kind_including_requests_never_started() -> None:
    late = build_rows([4.0, 5.0])
    late["sent_ns"] = late["end_ns"] = late["first_byte_ns"] = pd.array([None, None], dtype="Int64")
    rows = pd.concat([build_rows([0.1, 0.2]), build_rows([1.0, 2.0, 3.0], error="http-5xx"), late])
    error_rows = build_error_rows(read_request_times(rows, RESULT))

    assert [(row.error, row.count) for row in error_rows] == [("http-5xx", 3), (NOT_STARTED, 2)]
    assert (error_rows[0].first_s, error_rows[0].last_s) == (1.0, 3.0)
    assert error_rows[0].share.value == pytest.approx(3 / 7)


def test_error_row_has_the_first_sample_of_its_kind() -> None:
    requests = read_request_times(
        pd.concat([build_rows([1.0], error="http-5xx"), build_rows([2.0], error="tls")]), RESULT
    )
    samples = (ErrorSample("http-5xx", 9, "later"), ErrorSample("http-5xx", 5, "status 503"))
    stages = [msgspec.structs.replace(RESULT.stages[-1], error_samples=(sample,)) for sample in samples]
    assert [(row.error, row.sample) for row in build_error_rows(requests, stages)] == [("http-5xx", "status 503"),
                                                                                 ("tls", None)]  # fmt: skip


def test_latency_spectrum_pools_steps_and_ends_at_the_last_supported_share() -> None:
    run = full_run()
    stages = find_headline_stages(run.result)
    latency, service = build_spectra(read_request_times(run.rows, run.result), stages)

    assert [stage.name for stage in stages] == ["3 steps at 218 req/s"]
    assert latency.n == service.n == stages[0].completed
    assert list(latency.ms) == sorted(latency.ms)
    assert 0.99 < latency.share[-1] < 0.999


def test_run_without_requests_has_no_series() -> None:
    requests = read_request_times(pd.DataFrame(), RESULT)
    assert build_load_series(requests) is None
    assert build_error_rows(requests) == ()
    assert build_spectra(requests, find_headline_stages(RESULT)) == ()


_DISTRIBUTIONS_RUN = full_run()
_STAGE = msgspec.structs.replace(_DISTRIBUTIONS_RUN.result.stages[-1], window=Window(START_NS, START_NS + 10**12))


def build_requests(latency_ms: Sequence[float], every_s: float = 0.01) -> RequestTimes:
    scheduled_ns = START_NS + (np.arange(len(latency_ms)) * every_s * 1e9).astype(np.int64)
    rows = pd.DataFrame(
        {
            "scheduled_ns": scheduled_ns,
            "sent_ns": scheduled_ns,
            "first_byte_ns": scheduled_ns,
            "end_ns": scheduled_ns + (np.array(latency_ms) * 1e6).astype(np.int64),
            "error": None,
        }
    )
    requests = read_request_times(rows, _DISTRIBUTIONS_RUN.result)
    assert requests is not None
    return requests


def test_latency_distribution_of_few_requests_has_every_value() -> None:
    latency, service = build_distributions(build_requests([4.0, 1.0, 2.0, 2.0]), (_STAGE,))
    assert latency.ms == (1.0, 2.0, 2.0, 4.0)
    assert latency.share == (0.25, 0.5, 0.75, 1.0)
    assert service.n == latency.n == 4


def test_latency_distribution_of_many_requests_is_bounded_with_its_extremes() -> None:
    latencies_ms = np.random.default_rng(1).gamma(2, 10, 50_000)
    (latency, _) = build_distributions(build_requests(latencies_ms.tolist()), (_STAGE,))
    assert len(latency.ms) == MAX_STEPS
    assert latency.ms[0] == pytest.approx(latencies_ms.min(), abs=1e-4)
    assert latency.ms[-1] == pytest.approx(latencies_ms.max(), abs=1e-4)
    middle = latency.ms[next(index for index, share in enumerate(latency.share) if share >= 0.5)]
    assert middle == pytest.approx(np.median(latencies_ms), rel=0.02)


def test_requests_outside_the_stages_are_not_in_the_distribution() -> None:
    late = msgspec.structs.replace(_STAGE, window=Window(START_NS + 15_000_000, START_NS + 10**9))
    (latency, _) = build_distributions(build_requests([1.0, 2.0, 3.0, 4.0]), (late,))
    assert latency.ms == (3.0, 4.0)
    assert build_distributions(None, (_STAGE,)) == ()


@pytest.mark.parametrize(("count", "every_s"), [(500, 0.01), (3, 1.0), (20_000, 10.0)])
def test_heat_map_counts_every_request_in_a_bounded_number_of_cells(count: int, every_s: float) -> None:
    latencies_ms = np.random.default_rng(2).lognormal(3, 2, count)
    heat = build_heat_map(build_requests(latencies_ms.tolist(), every_s))
    assert heat is not None
    assert sum(map(sum, heat.counts)) == count
    assert len(heat.counts) == len(heat.edges_ms) - 1 <= MAX_ROWS
    assert all(len(row) == len(heat.from_s) <= MAX_COLUMNS for row in heat.counts)
    assert heat.edges_ms[0] <= latencies_ms.min()
    assert latencies_ms.max() < heat.edges_ms[-1]


def test_heat_map_of_a_5_s_run_has_50_columns() -> None:
    heat = build_heat_map(build_requests([1.0, 2.0] * 250))
    assert heat is not None
    assert heat.bin_s == 0.1
    assert len(heat.from_s) == 50


def test_heat_map_cell_is_at_request_start_and_latency() -> None:
    heat = build_heat_map(build_requests([1.0, 1.0, 8.0], every_s=1.0))
    assert heat is not None
    assert [row.index(1) for row in heat.counts if sum(row) == 1] == [round(2 / heat.bin_s)]
    slowest = len(heat.counts) - 1
    assert heat.edges_ms[slowest] <= 8.0 < heat.edges_ms[slowest + 1]
    assert heat.counts[slowest][round(2 / heat.bin_s)] == 1


def test_heat_map_without_requests_or_with_equal_latencies_is_none() -> None:
    assert build_heat_map(None) is None
    assert build_heat_map(build_requests([5.0, 5.0])) is None


def test_stage_distribution_of_an_endpoint_has_all_requests_of_the_stage(tmp_path: Path) -> None:
    fake_run = full_run()
    rows = fake_run.rows.reindex(columns=REQUEST_SCHEMA.names).astype(object).where(lambda frame: frame.notna(), None)
    with RunWriter(tmp_path / "run") as writer:
        for batch in pa.Table.from_pandas(rows, REQUEST_SCHEMA, preserve_index=False).to_batches():
            writer.append_requests(batch)
        writer.write_result(fake_run.result)
    run = StoredRun(tmp_path / "run")
    assert list_comparable_stages(fake_run.result)[0] == "probe 25 req/s"
    assert "batch 1" not in list_comparable_stages(fake_run.result)
    latency, service = build_stage_distributions(run, fake_run.result, "step 218 req/s")
    stages = [stage for stage in fake_run.result.stages if stage.name == "step 218 req/s"]
    assert latency.n == sum(stage.completed for stage in stages)
    assert latency.share[-1] == 1.0
    assert list(latency.ms) == sorted(latency.ms)
    slowest = range(latency.n - 4, latency.n + 1)
    assert latency.share[-5:] == tuple(round(rank / latency.n, 6) for rank in slowest), "its tail is complete"
    assert (latency.label, service.label) == ("latency (from scheduled start)", "service time (from send)")
    assert build_stage_distributions(run, fake_run.result, "no such stage") == ()


def test_stage_distribution_of_a_local_model_has_its_call_times(tmp_path: Path) -> None:
    result = local_run().result
    stage = next(stage for stage in result.stages if stage.kind != "warmup" and stage.verdict.status != "INVALID")
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
    (distribution,) = build_stage_distributions(StoredRun(tmp_path / "run"), result, stage.name)
    assert (distribution.label, distribution.n) == ("call time", 10)
    assert set(distribution.ms) == {2.0}


def test_stage_distribution_of_a_language_model_has_its_step_times(tmp_path: Path) -> None:
    result = language_model_run().result
    start_ns = result.stages[0].window.start_ns
    rows = [
        [*row[:2], -1, *(start_ns + round(at_ms * 1e6) if at_ms >= 0 else -1 for at_ms in row[3:])]
        for repetition in range(4)
        for row in steps(repetition, 30 * repetition, [2, 3], prefill_ms=10)
    ]
    with RunWriter(tmp_path / "run") as writer:
        writer.append_calls(unpack_calls(0, np.array(rows, np.int64).tobytes()))
        writer.write_result(result)
    for test, label, times_ms in (("pp512+tg16", "ITL", {2.0, 3.0}), ("pp512", "call time", {2.0, 3.0, 11.0})):
        stage = next(stage for stage in result.stages if stage.tags["test"] == test)
        (distribution,) = build_stage_distributions(StoredRun(tmp_path / "run"), result, stage.name)
        assert (distribution.label, set(distribution.ms)) == (label, times_ms)


@pytest.mark.parametrize("name", ["batch 1", "warm-up"])
def test_batch_and_warm_up_stages_are_not_comparable(name: str) -> None:
    assert name not in list_comparable_stages(full_run().result)


def test_run_with_several_targets_or_names_has_a_group_table() -> None:
    streams, locust = streaming_run(), locust_run()
    (targets,) = build_group_tables(streams.rows, streams.result.stages)
    (names,) = build_group_tables(locust.rows, locust.result.stages)
    assert (targets.column, [row.label for row in targets.rows]) == ("target", ["target 1", "target 2"])
    assert (names.column, [row.label for row in names.rows]) == ("name", ["/item/[id]", "/search"])
    assert sum(row.share for row in names.rows) == 1.0


def test_run_with_one_target_and_no_names_has_no_group_table() -> None:
    spike = spike_run()
    assert build_group_tables(spike.rows, spike.result.stages) == ()
    assert build_group_tables(pd.DataFrame(), spike.result.stages) == ()
