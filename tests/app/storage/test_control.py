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
def executing(box: CommandInbox, response: ControlResponse) -> Iterator[list[ControlCommand]]:
    """Process commands in another thread, with the same response to each, and yield the received commands."""
    received: list[ControlCommand] = []
    is_over = threading.Event()

    def execute(sent_command: ControlCommand) -> ControlResponse:
        received.append(sent_command)
        return response

    def process_commands() -> None:
        while not is_over.wait(0.01):
            box.process(execute)

    thread = threading.Thread(target=process_commands)
    thread.start()
    try:
        yield received
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("sent_command", [StopRun(), AddNote("a fan came on"), SetRate(300.0)])
def test_control_command_is_received_once_and_its_response_returned(
    box: CommandInbox, tmp_path: Path, sent_command: ControlCommand
) -> None:
    with executing(box, ControlResponse(True, "granted")) as received:
        assert send_command(tmp_path, sent_command) == "granted"
    assert received == [sent_command]
    assert list((tmp_path / CONTROL).iterdir()) == [], "no control files remain"


def test_rejected_control_command_is_a_usage_error(box: CommandInbox, tmp_path: Path) -> None:
    with (
        executing(box, ControlResponse(False, "no stage is running")),
        pytest.raises(UsageError, match="no stage is running"),
    ):
        send_command(tmp_path, SetRate(1.0))


def test_control_command_to_a_finished_run_is_rejected(box: CommandInbox, tmp_path: Path) -> None:
    box.close()
    with pytest.raises(UsageError, match="has already finished"):
        send_command(tmp_path, StopRun())


def test_control_command_during_the_end_of_a_run_is_rejected(box: CommandInbox, tmp_path: Path) -> None:
    closing = threading.Timer(0.1, box.close)
    closing.start()
    with pytest.raises(UsageError, match="has already finished"):
        send_command(tmp_path, StopRun())
    closing.join()


def test_control_command_without_a_response_is_withdrawn_after_the_timeout(box: CommandInbox, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not respond"):
        send_command(tmp_path, StopRun(), timeout_s=0.1)
    assert list((tmp_path / CONTROL).iterdir()) == []


def test_control_commands_are_executed_in_order_of_their_names(box: CommandInbox, tmp_path: Path) -> None:
    for name, text in (("2", "second"), ("1", "first"), ("3", "third")):
        (tmp_path / CONTROL / f"{name}.command").write_text(f'{{"type":"note","text":"{text}"}}')
    (tmp_path / CONTROL / "0.part").write_text('{"type":"stop"}')
    received: list[ControlCommand] = []
    box.process(lambda sent_command: received.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert received == [AddNote("first"), AddNote("second"), AddNote("third")]


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
def test_invalid_control_command_is_rejected_without_effect(box: CommandInbox, tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONTROL / "1.command").write_bytes(content)
    received: list[ControlCommand] = []
    box.process(lambda sent_command: received.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert received == []
    assert "does not support" in (tmp_path / CONTROL / "1.response").read_text()


def test_only_regular_files_are_control_commands(box: CommandInbox, tmp_path: Path) -> None:
    folder = tmp_path / CONTROL
    (tmp_path / "elsewhere").write_text('{"type":"stop"}')
    (folder / "link.command").symlink_to(tmp_path / "elsewhere")
    (folder / "folder.command").mkdir()
    os.mkfifo(folder / "pipe.command")
    received: list[ControlCommand] = []
    box.process(lambda sent_command: received.append(sent_command) or ControlResponse(True, ""))  # type: ignore[func-returns-value]
    assert received == []


def test_engine_is_not_alive_without_its_lock_even_if_the_pid_exists(box: CommandInbox, tmp_path: Path) -> None:
    assert is_engine_alive(tmp_path, os.getpid())
    copy = shutil.copytree(tmp_path, tmp_path / "as a kill leaves it")
    assert not is_engine_alive(copy, os.getpid())
    assert not is_engine_alive(copy, 1)


def test_run_of_an_older_version_is_alive_while_its_files_change(tmp_path: Path) -> None:
    (tmp_path / CONTROL).mkdir()
    (tmp_path / "events.jsonl").write_text("")
    assert is_engine_alive(tmp_path, os.getpid())
    for path in (tmp_path / "events.jsonl", tmp_path / CONTROL):
        os.utime(path, (1e9, 1e9))
    assert not is_engine_alive(tmp_path, os.getpid())


def test_closed_inbox_leaves_no_files(box: CommandInbox, tmp_path: Path) -> None:
    box.close()
    assert list(tmp_path.iterdir()) == []
    assert not is_engine_alive(tmp_path, os.getpid())


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**63, 10**30])
def test_engine_with_an_invalid_pid_is_not_alive(box: CommandInbox, tmp_path: Path, pid: int) -> None:
    assert not is_engine_alive(tmp_path, pid)
