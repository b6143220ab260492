from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError, UnavailableError, UsageError
from app.wiring.workers import (
    RemoteWorkers,
    RendezvousAddress,
    build_gather,
    parse_address,
    read_token,
    resolve_address,
)
from loadgen.records import Gather
from tests.app.wiring.conftest import LOAD, Written


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.1:5557", "10.0.0.1"), ("master.example:5557", "master.example"), ("[fd00::1]:5557", "fd00::1")],
)
def test_an_address_is_read_and_written(text: str, host: str) -> None:
    address = parse_address("--bind", text)
    assert address == RendezvousAddress(host, 5557)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", ":5557", "[]:5557", "fd00::1:5557",
     "[10.0.0.1]:5557", "http://master:5557", "user@master:5557", "a..b:5557", "-a:5557", "a b:5557"],
)  # fmt: skip
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--master") as error:
        parse_address("--master", text)
    assert "--master HOST:PORT" in str(error.value.hint)


def test_a_name_is_looked_up() -> None:
    assert resolve_address("--bind", RendezvousAddress("127.0.0.1", 5)) == RendezvousAddress("127.0.0.1", 5)
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid of --bind"):
        resolve_address("--bind", RendezvousAddress("no-such-host.invalid", 5))


def test_the_token_is_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "correct horse battery")
    (tmp_path / "token").write_text("staple correct horse\n")
    assert read_token("env:THE_TOKEN") == "correct horse battery"
    assert "THE_TOKEN" not in os.environ, "a server that the run starts would inherit it"
    assert read_token(f"file:{tmp_path / 'token'}") == "staple correct horse"


def test_a_token_is_never_an_argument_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "canary")
    for text, reported in (
        ("canary-canary-canary", "a reference to the token"),
        ("Bearer env:THE_TOKEN", "a reference to the token"),
        ("env:THE_TOKEN", "at least 16"),
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("file:gone", "the secret file gone cannot be read"),
    ):
        with pytest.raises(UsageError, match=reported) as error:
            read_token(text)
        assert "canary" not in f"{error.value} {error.value.hint}"


HERE = {"protocol": "http", "url": "http://127.0.0.1:8000/"}
THERE = {"protocol": "http", "url": "http://10.1.2.3:8000/"}
REMOTE = RemoteWorkers(3, RendezvousAddress("10.0.0.1", 5557), "a token of enough letters")


@pytest.mark.parametrize(
    ("target", "cores", "workers"),
    [
        (THERE, 4, 4),
        (THERE, 2.5, 2),
        (THERE, 0.5, 1),
        (HERE, 4, 3),
        (HERE, 2, 1),
        (HERE, 1, 1),
        ({"protocol": "http", "url": "http://localhost:8000/"}, 4, 3),
        ({"protocol": "http", "url": "http://10.1.2.3/", "socket": "model.sock"}, 4, 3),
        ({"protocol": "http", "scripted": {"delay": "1ms"}}, 4, 3),
        (THERE | {"start": {"command": "server", "ready": "/health"}}, 4, 3),
        ({"protocol": "http", "urls": ["http://10.1.2.3/", "http://[::1]/"]}, 4, 3),
    ],
)
def test_auto_is_a_worker_a_core_but_one_for_an_endpoint_on_this_machine(
    written: Written, target: dict[str, Any], cores: float, workers: int
) -> None:
    expected = Gather(local_workers=workers) if workers > 1 else None
    assert build_gather(written(target), cores=cores) == expected


def test_a_number_is_taken_as_it_is(written: Written) -> None:
    assert build_gather(written(HERE, load={**LOAD, "workers": 1}), cores=8) is None
    assert build_gather(written(HERE, load={**LOAD, "workers": 5}), cores=2) == Gather(local_workers=5)


def test_with_remote_workers_none_is_started_here_unless_asked_for(written: Written) -> None:
    expected = Gather(local_workers=0, remote_workers=3, host="10.0.0.1", port=5557, token=REMOTE.token)
    assert build_gather(written(THERE), REMOTE, cores=4) == expected
    both = build_gather(written(THERE, load={**LOAD, "workers": 2}), REMOTE, cores=4)
    assert both is not None
    assert (both.local_workers, both.remote_workers) == (2, 3)


@pytest.mark.parametrize("target", [HERE, {"protocol": "http", "scripted": {"delay": "1ms"}}])
def test_remote_workers_cannot_reach_what_listens_here_alone(written: Written, target: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot reach the target, because it is only reachable from this machine"):
        build_gather(written(target), REMOTE)


def locust(written: Written, tmp_path: Path, **load: Any) -> Any:
    (tmp_path / "locustfile.py").write_text("")
    stages = [{"name": "users", "concurrency": 2, "duration": "1s"}]
    return written({"protocol": "locust", "file": "locustfile.py"}, load={"stages": stages, **load})


def test_a_locust_test_is_one_process(written: Written, tmp_path: Path) -> None:
    assert build_gather(locust(written, tmp_path), cores=8) is None
    assert build_gather(locust(written, tmp_path, workers=1), cores=8) is None
    with pytest.raises(ProfileError, match="your own Locust test runs in a single process"):
        locust(written, tmp_path, workers=2)
    with pytest.raises(UsageError, match="one process of this machine"):
        build_gather(locust(written, tmp_path), REMOTE)
