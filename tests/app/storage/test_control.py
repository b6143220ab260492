from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.control import AddNote, ControlCommand, ControlResponse, SetRate, StopRun
from app.storage.control import CONTROL, CommandInbox, is_engine_alive, send_command


@pytest.fixture
def box(tmp_path: Path) -> CommandInbox:
    return CommandInbox(tmp_path)


@contextmanager
def executing(box: CommandInbox, answer: ControlResponse) -> Iterator[list[ControlCommand]]:
    """An engine that looks for wishes all the time and answers each alike."""
    taken: list[ControlCommand] = []
    is_over = threading.Event()

    def execute(sent_command: ControlCommand) -> ControlResponse:
        taken.append(sent_command)
        return answer

    def look() -> None:
        while not is_over.wait(0.01):
            box.process(execute)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("sent_command", [StopRun(), AddNote("a fan came on"), SetRate(300.0)])
def test_a_command_is_taken_once_and_answered(box: CommandInbox, tmp_path: Path, sent_command: ControlCommand) -> None:
    with executing(box, ControlResponse(True, "granted")) as taken:
        assert send_command(tmp_path, sent_command) == "granted"
    assert taken == [sent_command]
    assert list((tmp_path / CONTROL).iterdir()) == [], "nothing is left behind"


def test_a_command_that_is_not_granted_is_a_usage_error(box: CommandInbox, tmp_path: Path) -> None:
    with (
        executing(box, ControlResponse(False, "no stage is running")),
        pytest.raises(UsageError, match="no stage is running"),
    ):
        send_command(tmp_path, SetRate(1.0))


def test_a_run_that_has_ended_has_nobody_to_ask(box: CommandInbox, tmp_path: Path) -> None:
    box.close()
    with pytest.raises(UsageError, match="has already finished"):
        send_command(tmp_path, StopRun())


def test_a_run_that_ends_while_it_is_asked_is_reported(box: CommandInbox, tmp_path: Path) -> None:
    closing = threading.Timer(0.1, box.close)
    closing.start()
    with pytest.raises(UsageError, match="has already finished"):
        send_command(tmp_path, StopRun())
    closing.join()


def test_a_killed_run_does_not_answer_and_the_command_is_taken_back(box: CommandInbox, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not respond"):
        send_command(tmp_path, StopRun(), timeout_s=0.1)
    assert list((tmp_path / CONTROL).iterdir()) == []


def test_commands_are_executed_in_their_order(box: CommandInbox, tmp_path: Path) -> None:
    for name, text in (("2", "second"), ("1", "first"), ("3", "third")):
        (tmp_path / CONTROL / f"{name}.command").write_text(f'{{"type":"note","text":"{text}"}}')
    (tmp_path / CONTROL / "0.part").write_text('{"type":"stop"}')
    taken: list[ControlCommand] = []
    box.process(lambda sent_command: taken.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert taken == [AddNote("first"), AddNote("second"), AddNote("third")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"[" * 100_000,
        b'{"type":"format the disk"}',
        b'{"type":"rate","rate_per_s":-1}',
        b'{"type":"rate","rate_per_s":1e300}',
        b'{"type":"rate","rate_per_s":"fast"}',
        b'{"type":"note","text":""}',
        b'{"type":"note","text":"\xff"}',
        b'{"type":"note","text":"' + b"x" * 501 + b'"}',
        b'{"type":"note","text":"' + b"x" * 10_000_000 + b'"}',
    ],
)
def test_what_is_no_command_is_refused_and_does_nothing(box: CommandInbox, tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONTROL / "1.command").write_bytes(content)
    taken: list[ControlCommand] = []
    box.process(lambda sent_command: taken.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert taken == []
    assert "does not support" in (tmp_path / CONTROL / "1.response").read_text()


def test_only_plain_files_are_commands(box: CommandInbox, tmp_path: Path) -> None:
    folder = tmp_path / CONTROL
    (tmp_path / "elsewhere").write_text('{"type":"stop"}')
    (folder / "link.command").symlink_to(tmp_path / "elsewhere")
    (folder / "folder.command").mkdir()
    os.mkfifo(folder / "pipe.command")
    taken: list[ControlCommand] = []
    box.process(lambda sent_command: taken.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert taken == []


def test_a_killed_engine_is_gone_though_its_pid_is_another_process_by_now(box: CommandInbox, tmp_path: Path) -> None:
    assert is_engine_alive(tmp_path, os.getpid())
    left = shutil.copytree(tmp_path, tmp_path / "as a kill leaves it")
    assert not is_engine_alive(left, os.getpid())
    assert not is_engine_alive(left, 1)


def test_a_run_of_an_older_version_is_running_as_long_as_it_writes(tmp_path: Path) -> None:
    (tmp_path / CONTROL).mkdir()
    (tmp_path / "events.jsonl").write_text("")
    assert is_engine_alive(tmp_path, os.getpid())
    for path in (tmp_path / "events.jsonl", tmp_path / CONTROL):
        os.utime(path, (1e9, 1e9))
    assert not is_engine_alive(tmp_path, os.getpid())


def test_an_engine_that_ends_leaves_no_lock(box: CommandInbox, tmp_path: Path) -> None:
    box.close()
    assert list(tmp_path.iterdir()) == []
    assert not is_engine_alive(tmp_path, os.getpid())


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**63, 10**30])
def test_no_process_has_such_a_pid(box: CommandInbox, tmp_path: Path, pid: int) -> None:
    assert not is_engine_alive(tmp_path, pid)
