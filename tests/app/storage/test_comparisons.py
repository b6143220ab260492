from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.control import ControlCommand, ControlResponse, StopRun
from app.storage.comparisons import ComparisonWriter, comparisons_home, find_running_comparisons
from app.storage.control import send_command
from app.storage.following import RunFollower
from tests.fakes.stored_pairs import StoredPairs

UNUSED_PID = 2**22 + 1


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    return tmp_path


def test_interleaved_comparison_is_followed_like_a_run(tmp_path: Path) -> None:
    pairs = StoredPairs()
    pairs.add_pairs([(tmp_path / "a", tmp_path / "b")])
    follower = RunFollower(pairs.directory)
    while follower.read_next() is not None:
        assert follower.is_active()
    pairs.end(11, "REGRESSION")
    assert follower.read_next() is not None
    assert follower.finished_event is not None
    assert follower.finished_event.exit_code == 11
    assert not follower.is_active()


def test_only_running_comparisons_are_listed(home: Path) -> None:
    assert find_running_comparisons() == ()
    running, ended, gone = (StoredPairs(f"20261127-12000{number}-a-000{number}") for number in range(3))
    killed = StoredPairs("20261127-120004-a-0004", pid=UNUSED_PID)
    ended.end()
    gone.store.close()  # as after a crash of the engine
    (comparisons_home() / "no comparison").mkdir()
    assert find_running_comparisons() == (running.directory,)
    for pairs in (running, killed):
        pairs.end()


def test_comparison_receives_a_stop_command() -> None:
    pairs, received = StoredPairs(), list[ControlCommand]()

    def execute(sent_command: ControlCommand) -> ControlResponse:
        received.append(sent_command)
        return ControlResponse(True, "stopping")

    replies = list[str]()
    sender = threading.Thread(target=lambda: replies.append(send_command(pairs.directory, StopRun())))
    sender.start()
    while sender.is_alive():
        pairs.store.process_commands(execute)
        sender.join(0.01)
    pairs.end()
    assert (received, replies) == ([StopRun()], ["stopping"])


def test_existing_comparison_is_not_overwritten() -> None:
    pairs = StoredPairs()
    with pytest.raises(UsageError, match="already contains a comparison"):
        ComparisonWriter(pairs.directory)
    pairs.end()
