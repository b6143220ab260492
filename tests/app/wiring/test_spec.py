from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.session.spec import StartSpec
from app.wiring.reference_server import SCRIPTED_NOTE
from app.wiring.spec import build_standalone_spec, build_start_spec
from tests.app.wiring.conftest import HTTP, MakeProfile, MakeSpec

SERVED = {"protocol": "oip", "serve": {"model": "digits", "threads": 2, "max_batch": 12}}


def test_standalone_spec_has_powers_of_two_up_to_the_largest_batch(make_profile: MakeProfile) -> None:
    standalone_spec = build_standalone_spec(make_profile(SERVED))
    assert standalone_spec is not None
    assert standalone_spec.batches == (1, 2, 4, 8, 12)
    assert (standalone_spec.name, standalone_spec.job.batch, standalone_spec.job.settings.threads) == ("digits", 1, 2)
    assert Path(standalone_spec.job.model).is_absolute()
    assert standalone_spec.job.rows is None


def test_standalone_spec_scores_labeled_rows(make_profile: MakeProfile, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"rows")
    standalone_spec = build_standalone_spec(make_profile(SERVED, {"tensors": "rows.npz", "labels": "y"}))
    assert standalone_spec is not None
    assert (standalone_spec.job.rows, standalone_spec.job.label) == (str(tmp_path / "rows.npz"), "y")


def test_endpoint_without_a_served_model_has_no_standalone_spec(make_profile: MakeProfile) -> None:
    assert build_standalone_spec(make_profile()) is None


def test_target_without_a_start_command_has_no_start_spec(make_profile: MakeProfile) -> None:
    assert build_start_spec(make_profile()) is None


def test_start_spec_has_command_ready_url_and_resolved_environment(
    make_profile: MakeProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    start = {"command": "serve --port 8000", "ready": "/health", "timeout": "5s",
             "env": {"TOKEN": "env:API_KEY", "THREADS": "2"}}  # fmt: skip
    assert build_start_spec(make_profile({**HTTP, "start": start})) == StartSpec(
        command=("serve", "--port", "8000"),
        ready_url="http://127.0.0.1:8000/health",
        timeout_s=5.0,
        directory=str(tmp_path),
        environment=(("TOKEN", "secret"), ("THREADS", "2")),
    )


def test_ready_url_of_a_grpc_target_may_use_another_port(make_profile: MakeProfile) -> None:
    target = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m"}
    start = {"command": "serve", "ready": "http://127.0.0.1:8000/v2/health/ready"}
    ready = build_start_spec(make_profile({**target, "start": start}))
    assert ready is not None
    assert ready.ready_url == "http://127.0.0.1:8000/v2/health/ready"


def test_missing_secret_of_a_start_command_is_reported(make_profile: MakeProfile) -> None:
    start = {"command": "serve", "ready": "/", "env": {"TOKEN": "env:NO_SUCH_KEY"}}
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        build_start_spec(make_profile({**HTTP, "start": start}))


def test_spec_of_a_local_endpoint_has_no_notes(make_spec: MakeSpec) -> None:
    run_spec = make_spec(HTTP)
    assert run_spec.target.urls == ("http://127.0.0.1:8000/score",)
    assert run_spec.target.model is None
    assert run_spec.notes == ()
    assert not run_spec.may_be_scaled_to_zero
    assert run_spec.start is None
    assert run_spec.endpoint.trace_key is None


def test_trace_key_of_a_run_is_its_id(make_spec: MakeSpec) -> None:
    assert make_spec({**HTTP, "traceparent": True}).endpoint.trace_key == "run"


def test_scripted_target_has_a_note_and_no_hardware(make_spec: MakeSpec) -> None:
    run_spec = make_spec({"protocol": "openai-chat", "scripted": {}}, {"prompts": {"input_tokens": 5}})
    assert run_spec.notes == (SCRIPTED_NOTE,)
    assert run_spec.target.hardware is None
    assert (run_spec.target.urls, run_spec.target.model) == ((), "scripted")


def test_proxy_is_noted_without_its_password(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@proxy.example:3128")
    run_spec = make_spec({"protocol": "http", "url": "http://93.184.215.14/", "permitted": True})
    assert run_spec.notes == ("Requests went through a proxy (proxy.example:3128); latencies include the proxy.",)


def test_replicas_are_noted_and_have_no_hardware(make_spec: MakeSpec) -> None:
    run_spec = make_spec({"protocol": "http", "urls": ["http://127.0.0.1:1/", "http://127.0.0.1:2/"]})
    assert run_spec.notes == ("Requests were balanced over 2 replicas (round-robin).",)
    assert run_spec.target.hardware is None


def test_high_number_of_connections_is_noted(make_spec: MakeSpec) -> None:
    run_spec = make_spec(load={"stages": [{"concurrency": 10_000, "duration": "1s"}]})
    assert run_spec.notes == ("Up to 10,000 connections could be open, one per client.",)


def test_wake_option_marks_the_target_as_possibly_scaled_to_zero(make_spec: MakeSpec) -> None:
    assert make_spec({**HTTP, "wake": True}).may_be_scaled_to_zero
