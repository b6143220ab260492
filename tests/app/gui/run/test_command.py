from __future__ import annotations

from pathlib import Path

import shiboken6
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.run.command import CommandRunner


def test_finished_command_emits_its_exit_code_and_output(qtbot: QtBot, qapp: QObject, tmp_path: Path) -> None:
    command = CommandRunner(qapp)
    profile = b'sizewise: 1\nname: mine\ntarget: {protocol: http, url: "http://127.0.0.1:1"}\n' + (
        b"workload: {body: 1}\nload: {stages: [{trace: t.csv}]}\n"
    )
    with qtbot.waitSignal(command.finished, timeout=30_000) as finished:
        command.start(("profiles", "check", "-"), profile, tmp_path)
    code, output, error_output = finished.args
    assert (code, output) == (2, b"")
    assert str(tmp_path / "t.csv").encode() in error_output  # paths are relative to the folder
    assert not command.is_running


def test_stopped_or_deleted_command_emits_nothing(qapp: QApplication) -> None:
    owner = QObject()
    command = CommandRunner(owner)
    exit_codes: list[int] = []
    command.finished.connect(lambda code, *_: exit_codes.append(code))
    command.start(("--version",))
    command.stop()
    command.start(("profiles", "list"))
    shiboken6.delete(owner)
    qapp.processEvents()
    assert exit_codes == []
