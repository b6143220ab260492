from __future__ import annotations

from pathlib import Path

import shiboken6
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.run.command import CommandRunner


def test_what_a_command_wrote_and_its_exit_code_are_received(qtbot: QtBot, qapp: QObject, tmp_path: Path) -> None:
    command = CommandRunner(qapp)
    profile = b'sizewise: 1\nname: mine\ntarget: {protocol: http, url: "http://127.0.0.1:1"}\n' + (
        b"workload: {body: 1}\nload: {stages: [{trace: t.csv}]}\n"
    )
    with qtbot.waitSignal(command.finished, timeout=30_000) as ended:
        command.start(("profiles", "check", "-"), profile, tmp_path)
    code, out, said = ended.args
    assert (code, out) == (2, b"")
    assert str(tmp_path / "t.csv").encode() in said  # paths are the folder's
    assert not command.is_running


def test_a_command_goes_with_its_owner_and_reports_nothing_once_stopped(qapp: QApplication) -> None:
    owner = QObject()
    command = CommandRunner(owner)
    reported: list[int] = []
    command.finished.connect(lambda code, *_: reported.append(code))
    command.start(("--version",))
    command.stop()
    command.start(("profiles", "list"))
    shiboken6.delete(owner)
    qapp.processEvents()
    assert reported == []
