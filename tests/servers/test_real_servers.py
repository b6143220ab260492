"""The load worker with third-party servers: no errors, inputs from their metadata, token counts from their usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import pandas as pd
import pyarrow as pa
import pytest

from loadgen.process import LoadProcess
from loadgen.records import (
    REQUEST_SCHEMA,
    Arrivals,
    ClosedArrivals,
    Endpoint,
    OpenArrivals,
    PreflightDone,
    StageLoad,
    StagePlan,
)
from loadgen.workloads import FixedLength, OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload

# the first of them installs the servers
pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

TOKENS = 12
BINARY_REFUSED = "The server rejected binary tensors, so JSON was sent."


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


CLOSED = ClosedArrivals(4)
POISSON = OpenArrivals("poisson", ((0.0, 100.0),))


def run_stage(
    load: LoadProcess, url: str, workload: Workload, arrivals: Arrivals = CLOSED
) -> tuple[PreflightDone, pd.DataFrame]:
    """Run a stage of one second."""
    endpoint = Endpoint((url,))
    load.configure(endpoint, workload)
    preflight = load.preflight()
    assert preflight.error is None, preflight.detail
    if not preflight.reuses_connection:
        load.configure(msgspec.structs.replace(endpoint, reuses_connections=False), workload)
    batches: list[pa.RecordBatch] = []
    plan = StagePlan(0, "steady", StageLoad(arrivals, 1.0), seed=1, drain_s=20)
    load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    return preflight, pa.Table.from_batches(batches, REQUEST_SCHEMA).to_pandas()


def assert_all_succeeded(rows: pd.DataFrame) -> None:
    assert len(rows) > 20
    assert rows["error"].isna().all(), rows["error"].value_counts().to_dict()
    assert (rows["status"] == 200).all()
    assert (rows["end_ns"] > rows["sent_ns"]).all()


@pytest.mark.parametrize("model", ["doubling", "echo"])
@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("rows_per_request", [1, 4])
def test_mlserver_requests_succeed_over_http_and_grpc(
    load: LoadProcess, mlserver: tuple[str, str], model: str, transport: Literal["http", "grpc"], rows_per_request: int
) -> None:
    workload = OipWorkload(model, transport=transport, rows_per_request=rows_per_request)
    preflight, rows = run_stage(load, mlserver[transport == "grpc"], workload, POISSON)
    assert_all_succeeded(rows)
    assert preflight.notes == ((BINARY_REFUSED,) if transport == "http" else ())
    assert rows["first_byte_ns"].isna().all() == (transport == "grpc")


def test_mlserver_accepts_json_tensors_without_notes(load: LoadProcess, mlserver: tuple[str, str]) -> None:
    preflight, rows = run_stage(load, mlserver[0], OipWorkload("doubling", binary=False))
    assert_all_succeeded(rows)
    assert preflight.notes == ()


def test_mlserver_grpc_stream_has_three_chunks_per_response(load: LoadProcess, mlserver: tuple[str, str]) -> None:
    _, rows = run_stage(load, mlserver[1], OipWorkload("a/doubling", transport="grpc-stream"))
    assert_all_succeeded(rows)
    assert set(rows["chunk_ns"].map(len)) == {3}
    assert (rows["first_token_ns"] <= rows["last_token_ns"]).all()
    assert (rows["last_token_ns"] <= rows["end_ns"]).all()


def test_missing_mlserver_model_fails_preflight_with_404(load: LoadProcess, mlserver: tuple[str, str]) -> None:
    workloads = (OipWorkload("nothing", transport="http"), OipWorkload("nothing", transport="grpc"))
    for url, workload in zip(mlserver, workloads, strict=True):
        load.configure(Endpoint((url,)), workload)
        preflight = load.preflight()
        assert (preflight.error, preflight.status) == ("http-4xx", 404)


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("binary", [True, False])
def test_kserve_requests_succeed_over_http_and_grpc(
    load: LoadProcess, kserve: tuple[str, str], transport: Literal["http", "grpc"], binary: bool
) -> None:
    workload = OipWorkload("doubling", transport=transport, binary=binary, rows_per_request=2)
    preflight, rows = run_stage(load, kserve[transport == "grpc"], workload)
    assert_all_succeeded(rows)
    assert preflight.notes == ()


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_llama_cpp_responses_have_token_counts_of_server(
    load: LoadProcess, llama: str, api: Literal["chat", "completions"], stream: bool
) -> None:
    prompts = SyntheticPrompts(FixedLength(8), FixedLength(TOKENS), unique=20)
    workload = OpenAiWorkload(api, "tiny", prompts, stream=stream)
    preflight, rows = run_stage(load, llama, workload)
    assert_all_succeeded(rows)
    assert preflight.reuses_connection != stream, "it closes the connection after a stream without an announcement"
    assert set(rows["token_source"]) == {"server"}
    assert set(rows["tokens_out"]) == {TOKENS}
    assert (rows["tokens_in"] > 8).all()
    assert rows["first_token_ns"].notna().all() == stream
    if stream:
        assert (rows["first_token_ns"] >= rows["first_byte_ns"]).all()
