from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from app.gui.engine.run import RunControlClient
from app.records.control import AddNote, ControlCommand, ControlResponse, Extend, SetRate, StopRun
from app.storage.control import CommandInbox


def test_commands_reach_the_benchmark_process_and_responses_return(tmp_path: Path, qtbot: QtBot) -> None:
    inbox, client = CommandInbox(tmp_path), RunControlClient()
    commands: list[ControlCommand] = []
    successes: list[tuple[ControlCommand, str]] = []
    failures: list[tuple[ControlCommand, str]] = []
    client.command_succeeded.connect(lambda sent_command, response: successes.append((sent_command, response)))
    client.command_failed.connect(lambda sent_command, error: failures.append((sent_command, str(error))))

    def execute(sent_command: ControlCommand) -> ControlResponse:
        commands.append(sent_command)
        return ControlResponse(
            not isinstance(sent_command, SetRate), "as you like" if not isinstance(sent_command, SetRate) else "no"
        )

    def is_processed(count: int) -> bool:
        inbox.process(execute)
        return len(successes) + len(failures) == count

    client.add_note(tmp_path, "  now  ")
    client.add_note(tmp_path, "   ")
    qtbot.waitUntil(lambda: is_processed(1))
    client.change_rate(tmp_path, 50.0)
    qtbot.waitUntil(lambda: is_processed(2))
    client.extend(tmp_path, 30.0)
    qtbot.waitUntil(lambda: is_processed(3))
    client.stop(tmp_path)
    qtbot.waitUntil(lambda: is_processed(4))
    assert commands == [AddNote("now"), SetRate(50.0), Extend(30.0), StopRun()]
    assert successes == [(sent_command, "as you like") for sent_command in (AddNote("now"), Extend(30.0), StopRun())]
    assert failures == [(SetRate(50.0), "no")]
    inbox.close()


def test_command_to_a_finished_run_fails(tmp_path: Path, qtbot: QtBot) -> None:
    client = RunControlClient()
    with qtbot.waitSignal(client.command_failed) as failure:
        client.stop(tmp_path)
    assert failure.args is not None
    assert "has already finished" in str(failure.args[1])
