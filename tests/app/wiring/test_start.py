from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.session.spec import StartSpec
from app.wiring.start import start_of
from tests.app.wiring.conftest import HTTP, Written


def test_no_start_is_none(written: Written) -> None:
    assert start_of(written()) is None


def test_a_command_and_where_it_is_ready(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    start = {"command": "serve --port 8000", "ready": "/health", "timeout": "5s",
             "env": {"TOKEN": "env:API_KEY", "THREADS": "2"}}  # fmt: skip
    assert start_of(written({**HTTP, "start": start})) == StartSpec(
        command=("serve", "--port", "8000"),
        ready_url="http://127.0.0.1:8000/health",
        timeout_s=5.0,
        directory=str(tmp_path),
        environment=(("TOKEN", "secret"), ("THREADS", "2")),
    )


def test_a_server_of_grpc_may_be_ready_elsewhere(written: Written) -> None:
    target = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m"}
    start = {"command": "serve", "ready": "http://127.0.0.1:8000/v2/health/ready"}
    ready = start_of(written({**target, "start": start}))
    assert ready is not None
    assert ready.ready_url == "http://127.0.0.1:8000/v2/health/ready"


def test_a_secret_that_is_not_there_is_told(written: Written) -> None:
    start = {"command": "serve", "ready": "/", "env": {"TOKEN": "env:NO_SUCH_KEY"}}
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        start_of(written({**HTTP, "start": start}))
