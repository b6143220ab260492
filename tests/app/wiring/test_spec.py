from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.session.spec import StartSpec
from app.wiring.reference_server import SCRIPTED_NOTE
from app.wiring.spec import build_standalone_spec, build_start_spec
from tests.app.wiring.conftest import HTTP, Spec, Written

SERVED = {"protocol": "oip", "serve": {"model": "digits", "threads": 2, "max_batch": 12}}


def test_a_served_model_is_measured_in_powers_of_two_up_to_the_largest_batch(written: Written) -> None:
    spec = build_standalone_spec(written(SERVED))
    assert spec is not None
    assert spec.batches == (1, 2, 4, 8, 12)
    assert (spec.name, spec.job.batch, spec.job.settings.threads) == ("digits", 1, 2)
    assert Path(spec.job.model).is_absolute()
    assert spec.job.rows is None


def test_labelled_rows_are_scored(written: Written, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"rows")
    spec = build_standalone_spec(written(SERVED, {"tensors": "rows.npz", "labels": "y"}))
    assert spec is not None
    assert (spec.job.rows, spec.job.label) == (str(tmp_path / "rows.npz"), "y")


def test_an_endpoint_of_others_has_no_model_to_measure(written: Written) -> None:
    assert build_standalone_spec(written()) is None


def test_no_start_is_none(written: Written) -> None:
    assert build_start_spec(written()) is None


def test_a_command_and_where_it_is_ready(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    start = {"command": "serve --port 8000", "ready": "/health", "timeout": "5s",
             "env": {"TOKEN": "env:API_KEY", "THREADS": "2"}}  # fmt: skip
    assert build_start_spec(written({**HTTP, "start": start})) == StartSpec(
        command=("serve", "--port", "8000"),
        ready_url="http://127.0.0.1:8000/health",
        timeout_s=5.0,
        directory=str(tmp_path),
        environment=(("TOKEN", "secret"), ("THREADS", "2")),
    )


def test_a_server_of_grpc_may_be_ready_elsewhere(written: Written) -> None:
    target = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m"}
    start = {"command": "serve", "ready": "http://127.0.0.1:8000/v2/health/ready"}
    ready = build_start_spec(written({**target, "start": start}))
    assert ready is not None
    assert ready.ready_url == "http://127.0.0.1:8000/v2/health/ready"


def test_a_secret_that_is_not_there_is_reported(written: Written) -> None:
    start = {"command": "serve", "ready": "/", "env": {"TOKEN": "env:NO_SUCH_KEY"}}
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        build_start_spec(written({**HTTP, "start": start}))


def test_an_endpoint_on_this_machine_is_planned_for(spec: Spec) -> None:
    made = spec(HTTP)
    assert made.target.urls == ("http://127.0.0.1:8000/score",)
    assert made.target.model is None
    assert made.notes == ()
    assert not made.may_be_scaled_to_zero
    assert made.start is None
    assert made.endpoint.trace_key is None


def test_the_trace_ids_of_a_run_follow_from_its_own_id(spec: Spec) -> None:
    assert spec({**HTTP, "traceparent": True}).endpoint.trace_key == "run"


def test_a_scripted_target_says_so_and_is_no_hardware(spec: Spec) -> None:
    made = spec({"protocol": "openai-chat", "scripted": {}}, {"prompts": {"input_tokens": 5}})
    assert made.notes == (SCRIPTED_NOTE,)
    assert made.target.hardware is None
    assert (made.target.urls, made.target.model) == ((), "scripted")


def test_a_proxy_between_is_noted_without_its_password(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@proxy.example:3128")
    made = spec({"protocol": "http", "url": "http://93.184.215.14/", "permitted": True})
    assert made.notes == ("Requests went through a proxy (proxy.example:3128); latencies include the proxy.",)


def test_replicas_are_reported_and_are_no_single_machine(spec: Spec) -> None:
    made = spec({"protocol": "http", "urls": ["http://127.0.0.1:1/", "http://127.0.0.1:2/"]})
    assert made.notes == ("Requests were balanced over 2 replicas (round-robin).",)
    assert made.target.hardware is None


def test_more_connections_than_usual_are_announced(spec: Spec) -> None:
    made = spec(load={"stages": [{"concurrency": 10_000, "duration": "1s"}]})
    assert made.notes == ("Up to 10,000 connections could be open, one per client.",)


def test_what_sleeps_is_woken(spec: Spec) -> None:
    assert spec({**HTTP, "wake": True}).may_be_scaled_to_zero
