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
from tests.app.wiring.conftest import LOAD, MakeProfile


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.1:5557", "10.0.0.1"), ("master.example:5557", "master.example"), ("[fd00::1]:5557", "fd00::1")],
)
def test_rendezvous_address_survives_a_round_trip(text: str, host: str) -> None:
    address = parse_address("--bind", text)
    assert address == RendezvousAddress(host, 5557)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", ":5557", "[]:5557", "fd00::1:5557",
     "[10.0.0.1]:5557", "http://master:5557", "user@master:5557", "a..b:5557", "-a:5557", "a b:5557"],
)  # fmt: skip
def test_invalid_rendezvous_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--master") as error:
        parse_address("--master", text)
    assert "--master HOST:PORT" in str(error.value.hint)


def test_rendezvous_host_name_is_resolved() -> None:
    assert resolve_address("--bind", RendezvousAddress("127.0.0.1", 5)) == RendezvousAddress("127.0.0.1", 5)
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid of --bind"):
        resolve_address("--bind", RendezvousAddress("no-such-host.invalid", 5))


def test_token_is_read_from_its_reference_and_removed_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "correct horse battery")
    (tmp_path / "token").write_text("staple correct horse\n")
    assert read_token("env:THE_TOKEN") == "correct horse battery"
    assert "THE_TOKEN" not in os.environ, "a server that the run starts would inherit it"
    assert read_token(f"file:{tmp_path / 'token'}") == "staple correct horse"


def test_token_must_be_a_reference_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "canary")
    for text, message in (
        ("canary-canary-canary", "a reference to the token"),
        ("Bearer env:THE_TOKEN", "a reference to the token"),
        ("env:THE_TOKEN", "at least 16"),
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("file:gone", "the secret file gone cannot be read"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            read_token(text)
        assert "canary" not in f"{error.value} {error.value.hint}"


LOCAL_TARGET = {"protocol": "http", "url": "http://127.0.0.1:8000/"}
REMOTE_TARGET = {"protocol": "http", "url": "http://10.1.2.3:8000/"}
REMOTE_WORKERS = RemoteWorkers(3, RendezvousAddress("10.0.0.1", 5557), "a token of enough letters")


@pytest.mark.parametrize(
    ("target", "cores", "workers"),
    [
        (REMOTE_TARGET, 4, 4),
        (REMOTE_TARGET, 2.5, 2),
        (REMOTE_TARGET, 0.5, 1),
        (LOCAL_TARGET, 4, 3),
        (LOCAL_TARGET, 2, 1),
        (LOCAL_TARGET, 1, 1),
        ({"protocol": "http", "url": "http://localhost:8000/"}, 4, 3),
        ({"protocol": "http", "url": "http://10.1.2.3/", "socket": "model.sock"}, 4, 3),
        ({"protocol": "http", "scripted": {"delay": "1ms"}}, 4, 3),
        (REMOTE_TARGET | {"start": {"command": "server", "ready": "/health"}}, 4, 3),
        ({"protocol": "http", "urls": ["http://10.1.2.3/", "http://[::1]/"]}, 4, 3),
    ],
)
def test_automatic_worker_count_excludes_a_core_for_an_endpoint_on_this_machine(
    make_profile: MakeProfile, target: dict[str, Any], cores: float, workers: int
) -> None:
    expected = Gather(local_workers=workers) if workers > 1 else None
    assert build_gather(make_profile(target), cores=cores) == expected


def test_explicit_number_of_workers_is_used(make_profile: MakeProfile) -> None:
    assert build_gather(make_profile(LOCAL_TARGET, load={**LOAD, "workers": 1}), cores=8) is None
    assert build_gather(make_profile(LOCAL_TARGET, load={**LOAD, "workers": 5}), cores=2) == Gather(local_workers=5)


def test_remote_workers_replace_local_workers_unless_both_are_requested(make_profile: MakeProfile) -> None:
    expected = Gather(local_workers=0, remote_workers=3, host="10.0.0.1", port=5557, token=REMOTE_WORKERS.token)
    assert build_gather(make_profile(REMOTE_TARGET), REMOTE_WORKERS, cores=4) == expected
    both = build_gather(make_profile(REMOTE_TARGET, load={**LOAD, "workers": 2}), REMOTE_WORKERS, cores=4)
    assert both is not None
    assert (both.local_workers, both.remote_workers) == (2, 3)


@pytest.mark.parametrize("target", [LOCAL_TARGET, {"protocol": "http", "scripted": {"delay": "1ms"}}])
def test_remote_workers_are_rejected_for_a_target_on_this_machine(
    make_profile: MakeProfile, target: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="cannot reach the target, because it is only reachable from this machine"):
        build_gather(make_profile(target), REMOTE_WORKERS)


def locust(make_profile: MakeProfile, tmp_path: Path, **load: Any) -> Any:
    (tmp_path / "locustfile.py").write_text("")
    stages = [{"name": "users", "concurrency": 2, "duration": "1s"}]
    return make_profile({"protocol": "locust", "file": "locustfile.py"}, load={"stages": stages, **load})


def test_locust_test_runs_in_a_single_process(make_profile: MakeProfile, tmp_path: Path) -> None:
    assert build_gather(locust(make_profile, tmp_path), cores=8) is None
    assert build_gather(locust(make_profile, tmp_path, workers=1), cores=8) is None
    with pytest.raises(ProfileError, match="your own Locust test runs in a single process"):
        locust(make_profile, tmp_path, workers=2)
    with pytest.raises(UsageError, match="one process of this machine"):
        build_gather(locust(make_profile, tmp_path), REMOTE_WORKERS)
