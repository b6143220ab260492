from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError, UsageError
from app.wiring.meeting import RendezvousAddress
from app.wiring.workers import RemoteWorkers, gather_of
from loadgen.records import Gather
from tests.app.wiring.conftest import LOAD, Written

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
    expected = Gather(local=workers) if workers > 1 else None
    assert gather_of(written(target), cores=cores) == expected


def test_a_number_is_taken_as_it_is(written: Written) -> None:
    assert gather_of(written(HERE, load={**LOAD, "workers": 1}), cores=8) is None
    assert gather_of(written(HERE, load={**LOAD, "workers": 5}), cores=2) == Gather(local=5)


def test_with_remote_workers_none_is_started_here_unless_asked_for(written: Written) -> None:
    expected = Gather(local=0, remote=3, host="10.0.0.1", port=5557, token=REMOTE.token)
    assert gather_of(written(THERE), REMOTE, cores=4) == expected
    both = gather_of(written(THERE, load={**LOAD, "workers": 2}), REMOTE, cores=4)
    assert both is not None
    assert (both.local, both.remote) == (2, 3)


@pytest.mark.parametrize("target", [HERE, {"protocol": "http", "scripted": {"delay": "1ms"}}])
def test_remote_workers_cannot_reach_what_listens_here_alone(written: Written, target: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="reached from this machine only"):
        gather_of(written(target), REMOTE)


def locust(written: Written, tmp_path: Path, **load: Any) -> Any:
    (tmp_path / "locustfile.py").write_text("")
    stages = [{"name": "users", "concurrency": 2, "duration": "1s"}]
    return written({"protocol": "locust", "file": "locustfile.py"}, load={"stages": stages, **load})


def test_a_locust_test_is_one_process(written: Written, tmp_path: Path) -> None:
    assert gather_of(locust(written, tmp_path), cores=8) is None
    assert gather_of(locust(written, tmp_path, workers=1), cores=8) is None
    with pytest.raises(ProfileError, match="runs in one process"):
        locust(written, tmp_path, workers=2)
    with pytest.raises(UsageError, match="one process of this machine"):
        gather_of(locust(written, tmp_path), REMOTE)
