from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.run.connection_test_panel import ConnectionTestPanel
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes.edited_document import EditedDocument

LOAD = {"stages": [{"rate": "1/s", "duration": "1s"}]}


def make_document(url: str, **target: Any) -> EditedDocument:
    target = {"protocol": "http", "url": url, **target}
    return EditedDocument({"sizewise": 1, "name": "mine", "target": target, "workload": {"body": 1}, "load": LOAD})


@contextmanager
def open_tested_panel(qtbot: QtBot, document: EditedDocument) -> Iterator[ConnectionTestPanel]:
    editor = ConnectionTestPanel()
    qtbot.addWidget(editor)
    editor.show_document(document)
    editor.show()
    with qtbot.waitSignal(editor.command_runner.finished, timeout=30_000):
        qtbot.mouseClick(editor.test_button, Qt.MouseButton.LeftButton)
        assert not editor.test_button.isEnabled()
        assert editor.stop_button.isVisible()
    yield editor


def test_successful_test_shows_status_times_and_headers_without_secrets(qtbot: QtBot) -> None:
    with ScriptedServer(Script(reply=Reply(headers=(("Set-Cookie", "tasty"),)))) as server:
        document = make_document(server.url, headers={"Authorization": "Bearer s3cret"})
        with open_tested_panel(qtbot, document) as editor:
            rows = dict(editor.rows.rows)
            assert (editor.badge.text(), editor.strip.text()) == ("PASS", "")
            document.set_value("load.seed", 8)
            editor.show_document(document)
            assert editor.rows.rows  # the result of the target is still valid
            document.set_value("target.headers", {"Accept": "text/plain"})
            editor.show_document(document)
            assert not editor.rows.rows
        assert len(server.requests) == 1
    assert rows["Status"] == "200"
    assert rows["Time to first byte"].endswith("ms")
    assert rows["Sent: Authorization"] == rows["Received: Set-Cookie"] == "<redacted>"
    assert not {"s3cret", "tasty"} & set(" ".join(rows.values()).split())
    assert editor.test_button.isEnabled()
    assert not editor.stop_button.isVisible()


def test_failed_test_is_reported_with_a_title_and_a_remedy(qtbot: QtBot) -> None:
    with (
        ScriptedServer(Script(reply=Reply(status=401))) as server,
        open_tested_panel(qtbot, make_document(server.url)) as editor,
    ):
        strip_text, badge = editor.strip.text(), editor.badge.text()
    assert strip_text.startswith("Unauthorized (401)")
    assert "target.headers" in strip_text
    assert badge == "FAIL"


def test_invalid_profile_is_reported_with_its_key_and_starts_no_process(qtbot: QtBot) -> None:
    document = make_document("ftp://127.0.0.1")
    editor = ConnectionTestPanel()
    qtbot.addWidget(editor)
    editor.show_document(document)
    qtbot.mouseClick(editor.test_button, Qt.MouseButton.LeftButton)
    assert editor.strip.text().startswith("target.url: the URL must start with http:// or https://")
    assert (editor.command_runner.is_running, editor.test_button.isEnabled()) == (False, True)


def test_running_connection_test_is_stopped(qtbot: QtBot) -> None:
    editor = ConnectionTestPanel()
    qtbot.addWidget(editor)
    with ScriptedServer(Script(reply=Reply(mode="hang"))) as server:
        editor.show_document(make_document(server.url))
        editor.show()
        qtbot.mouseClick(editor.test_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(server.requests), timeout=30_000)
        qtbot.mouseClick(editor.stop_button, Qt.MouseButton.LeftButton)
    assert not editor.command_runner.is_running
    assert editor.strip.text() == "The test was stopped."
    assert editor.test_button.isEnabled()
