from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from app.gui.engine.run import RunControlClient
from app.records.control import AddNote, ControlCommand, ControlResponse, Extend, SetRate, StopRun
from app.storage.control import CommandInbox


def test_commands_reach_the_engine_and_its_answers_the_window(tmp_path: Path, qtbot: QtBot) -> None:
    box, asking = CommandInbox(tmp_path), RunControlClient()
    commands: list[ControlCommand] = []
    answers: list[tuple[ControlCommand, str]] = []
    refusals: list[tuple[ControlCommand, str]] = []
    asking.command_succeeded.connect(lambda sent_command, answer: answers.append((sent_command, answer)))
    asking.command_failed.connect(lambda sent_command, error: refusals.append((sent_command, str(error))))

    def execute(sent_command: ControlCommand) -> ControlResponse:
        commands.append(sent_command)
        return ControlResponse(
            not isinstance(sent_command, SetRate), "as you like" if not isinstance(sent_command, SetRate) else "no"
        )

    def is_answered(count: int) -> bool:
        box.process(execute)
        return len(answers) + len(refusals) == count

    asking.add_note(tmp_path, "  now  ")
    asking.add_note(tmp_path, "   ")
    qtbot.waitUntil(lambda: is_answered(1))
    asking.change_rate(tmp_path, 50.0)
    qtbot.waitUntil(lambda: is_answered(2))
    asking.extend(tmp_path, 30.0)
    qtbot.waitUntil(lambda: is_answered(3))
    asking.stop(tmp_path)
    qtbot.waitUntil(lambda: is_answered(4))
    assert commands == [AddNote("now"), SetRate(50.0), Extend(30.0), StopRun()]
    assert answers == [(sent_command, "as you like") for sent_command in (AddNote("now"), Extend(30.0), StopRun())]
    assert refusals == [(SetRate(50.0), "no")]
    box.close()


def test_a_run_that_has_ended_refuses(tmp_path: Path, qtbot: QtBot) -> None:
    asking = RunControlClient()
    with qtbot.waitSignal(asking.command_failed) as refused:
        asking.stop(tmp_path)
    assert refused.args is not None
    assert "has already finished" in str(refused.args[1])
