"""The worker against a gRPC server, through its pipe."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from loadgen.process import LoadError, LoadProcess
from loadgen.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from loadgen.records import REQUEST_SCHEMA, Endpoint, KeyFile, OpenArrivals, StagePlan, Tls
from loadgen.workloads import GrpcWorkload, HttpWorkload, OipWorkload
from tests.fakes.grpc_speech import SERVICE, Speech
from tests.fakes.open_inference import OpenInference, floats, inputs

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


def run_stage(load: LoadProcess, rate_per_s: float = 40) -> pd.DataFrame:
    batches: list[pa.RecordBatch] = []
    plan = StagePlan(0, "steady", OpenArrivals("constant", ((0.0, rate_per_s),)), 0.5, seed=1)
    load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    rows: pd.DataFrame = pa.Table.from_batches(batches, REQUEST_SCHEMA).to_pandas()
    return rows


@pytest.mark.parametrize("transport", ["grpc", "grpc-stream"])
def test_inputs_are_generated_from_grpc_metadata_and_responses_checked(
    load: LoadProcess, transport: Literal["grpc", "grpc-stream"]
) -> None:
    metadata = inputs(
        ("x", "FP32", (-1, 2)), ("ids", "INT64", (-1, -1)), ("scale", "FP64", ()), ("text", "BYTES", (4,))
    )
    with OpenInference(model_metadata=metadata) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("a/b", version="2", transport=transport))
        preflight = load.preflight()
        rows = run_stage(load)
    assert (preflight.error, preflight.status, preflight.notes) == (None, 200, ())
    assert preflight.detail.startswith(f"{server.url}/inference.GRPCInferenceService/Model")
    assert rows["error"].isna().all()
    assert set(rows["status"]) == {200}
    assert rows["first_byte_ns"].isna().all()
    assert rows["first_token_ns"].notna().all() == (transport == "grpc-stream")
    request = server.requests[-1]
    assert (request.model_name, request.model_version) == ("a/b", "2")
    assert [list(tensor.shape) for tensor in request.inputs] == [[1, 2], [1, 1], [], [4]]
    assert [len(blob) for blob in request.raw_input_contents] == [8, 8, 8, 40]


def test_responses_are_compared_with_labels(load: LoadProcess, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2), np.float32), y=np.array([1, 1, 1, 0]))
    with OpenInference() as server:
        workload = OipWorkload("m", transport="grpc", tensors=str(tmp_path / "t.npz"), labels="y")
        load.configure(Endpoint((server.url,)), workload)
        assert load.preflight().error is None
        assert run_stage(load)["correct_rows"].sum() == 15


@pytest.mark.parametrize("transport", ["grpc", "grpc-stream"])
def test_rejection_of_raw_tensors_is_detected_before_load(
    load: LoadProcess, transport: Literal["grpc", "grpc-stream"]
) -> None:
    def reject_raw_tensors(request: ModelInferRequest, context: grpc.ServicerContext) -> ModelInferResponse:
        if request.raw_input_contents:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "contents, please")
        return floats(*request.inputs[0].contents.fp32_contents)

    with OpenInference(
        respond=reject_raw_tensors,
        stream=lambda *call: [ModelStreamInferResponse(infer_response=reject_raw_tensors(*call))],
    ) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m", transport=transport))
        preflight = load.preflight()
        assert run_stage(load)["error"].isna().all()
    assert "rejected raw tensors" in preflight.notes[0]


@pytest.mark.parametrize(
    ("code", "error", "status"), [("UNAUTHENTICATED", "http-4xx", 401), ("NOT_FOUND", "http-4xx", 404)]
)
def test_error_of_metadata_request_has_http_status(
    load: LoadProcess, monkeypatch: pytest.MonkeyPatch, code: str, error: str, status: int
) -> None:
    def reject(self: OpenInference, request: object, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode[code], "canary")

    monkeypatch.setattr(OpenInference, "_metadata", reject)
    with OpenInference() as server:
        load.configure(
            Endpoint((server.url,), headers=(("Authorization", "canary"),)), OipWorkload("m", transport="grpc")
        )
        preflight = load.preflight()
    assert (preflight.error, preflight.status) == (error, status)
    assert "canary" not in preflight.detail


def test_renewed_key_file_is_read_after_rejection(load: LoadProcess, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("old")

    def require_valid_key(request: ModelInferRequest, context: grpc.ServicerContext) -> ModelInferResponse:
        if dict(context.invocation_metadata())["authorization"] != f"Bearer {valid[0]}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "")
        return floats(0, 1)

    valid = ["old"]
    with OpenInference(respond=require_valid_key) as server:
        keys = (KeyFile("Authorization", str(key), prefix="Bearer "),)
        load.configure(Endpoint((server.url,), key_files=keys), OipWorkload("m", transport="grpc"))
        assert load.preflight().error is None
        valid[0] = "new"
        key.write_text("new")
        rows = run_stage(load)
    assert rows["status"].iloc[0] == 401
    assert rows["status"].iloc[-1] == 200


def speech(method: str, *values: object) -> GrpcWorkload:
    requests = HttpWorkload(bodies=tuple(json.dumps(value).encode() for value in values))
    return GrpcWorkload(f"{SERVICE}/{method}", requests)


@pytest.mark.parametrize(
    ("method", "body", "messages_per_call", "message_count"),
    [
        ("Say", {"text": "a b", "wait": "1.5s"}, 1, None),
        ("Read", {"text": "a b c"}, 1, 3),
        ("Join", [{"text": "a"}, {"text": "b"}], 2, None),
        ("Talk", [{"text": "a"}, {"text": "b c"}], 2, 3),
    ],
)
def test_any_grpc_method_is_called_with_messages_described_by_reflection(
    load: LoadProcess, method: str, body: object, messages_per_call: int, message_count: int | None
) -> None:
    with Speech() as server:
        load.configure(Endpoint((server.url,)), speech(method, body))
        preflight = load.preflight()
        rows = run_stage(load)
        first = server.requests[0]
    assert (preflight.error, preflight.status) == (None, 200)
    assert preflight.detail.startswith(f"{server.url}/{SERVICE}/{method}")
    assert rows["error"].isna().all()
    assert len(server.requests) == messages_per_call * (1 + len(rows))
    assert first.text.startswith("a")
    assert rows[["first_token_ns", "tokens_out"]].isna().all(axis=None)
    counts = {None if times is None else len(times) for times in rows["chunk_ns"]}
    assert counts == {message_count}


def test_stream_that_ends_with_error_has_its_http_status(load: LoadProcess) -> None:
    with Speech() as server:
        load.configure(Endpoint((server.url,)), speech("Read", {"text": "a b"}, {"text": "a stop"}))
        assert load.preflight().error is None
        rows = run_stage(load)
    failed_rows = rows[rows["error"].notna()]
    assert set(failed_rows["error"]) == {"http-5xx"}
    assert set(failed_rows["status"]) == {503}
    assert 0 < len(failed_rows) < len(rows)


def test_unknown_grpc_method_is_workload_error(load: LoadProcess) -> None:
    with Speech() as server:
        load.configure(Endpoint((server.url,)), speech("Reed"))
        with pytest.raises(LoadError, match="has no method Reed") as failed:
            load.preflight()
    assert failed.value.is_workload_invalid
    assert failed.value.hint == "Did you mean Read?"


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (Endpoint(("ftp://h",)), "must start with grpc://"),
        (Endpoint(("grpcs://h:1",), tls=Tls(verify=False)), "always verifies"),
        (Endpoint(("grpc://h:1",), headers=(("grpc-timeout", "1S"),)), "metadata"),
    ],
)
def test_invalid_grpc_endpoint_is_workload_error(endpoint: Endpoint, message: str) -> None:
    with LoadProcess() as load:
        load.configure(endpoint, OipWorkload("m", transport="grpc"))
        with pytest.raises(LoadError, match=message) as failed:
            load.preflight()
    assert failed.value.is_workload_invalid


def test_grpc_is_imported_only_for_grpc_targets() -> None:
    code = (
        "import sys, loadgen.worker.target, loadgen.protocols.oip;"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'google.protobuf')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
