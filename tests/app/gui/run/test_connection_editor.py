from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.run.connection_editor import ConnectionEditor
from loadgen.reference.script import HttpFace
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes.edited import EditedDocument

LOAD = {"stages": [{"rate": "1/s", "duration": "1s"}]}


def asking(url: str, **target: Any) -> EditedDocument:
    target = {"protocol": "http", "url": url, **target}
    return EditedDocument({"sizewise": 1, "name": "mine", "target": target, "workload": {"body": 1}, "load": LOAD})


@contextmanager
def connection_to(qtbot: QtBot, document: EditedDocument) -> Iterator[ConnectionEditor]:
    editor = ConnectionEditor()
    qtbot.addWidget(editor)
    editor.show_document(document)
    editor.show()
    with qtbot.waitSignal(editor.command.ended, timeout=30_000):
        qtbot.mouseClick(editor.test, Qt.MouseButton.LeftButton)
        assert not editor.test.isEnabled()
        assert editor.stop.isVisible()
    yield editor


def test_one_request_is_told_with_its_times_and_without_its_secret(qtbot: QtBot) -> None:
    with ScriptedServer(Script(reply=Reply(headers=(("Set-Cookie", "tasty"),)))) as server:
        document = asking(server.url, headers={"Authorization": "Bearer s3cret"})
        with connection_to(qtbot, document) as editor:
            rows = dict(editor.rows.rows)
        assert len(server.requests) == 1
    assert rows["Status"] == "200"
    assert rows["First byte"].endswith("ms")
    assert rows["Sent: Authorization"] == rows["Received: Set-Cookie"] == "<redacted>"
    assert not {"s3cret", "tasty"} & set(" ".join(rows.values()).split())
    assert (editor.badge.text(), editor.strip.text()) == ("PASS", "")
    assert editor.test.isEnabled()
    assert not editor.stop.isVisible()


@pytest.mark.parametrize(
    ("reply", "title", "remedy"),
    [
        ({"status": 401}, "Not let in (401)", "target.headers"),
        ({"status": 404}, "Not found (404)", "target.model"),
        ({"manner": "hang"}, "No answer in time", "target.timeouts.total"),
    ],
)
def test_what_goes_wrong_has_a_title_and_a_remedy(qtbot: QtBot, reply: dict[str, Any], title: str, remedy: str) -> None:
    with ScriptedServer(Script(reply=Reply(**reply))) as server:
        document = asking(server.url, timeouts={"total": "0.3s"})
        with connection_to(qtbot, document) as editor:
            said = editor.strip.text()
    assert said.startswith(title)
    assert remedy in said


def test_nobody_there_and_a_wrong_profile_are_told_too(qtbot: QtBot) -> None:
    with ScriptedServer(Script()) as server:
        url = server.url
    with connection_to(qtbot, asking(url)) as editor:
        assert editor.strip.text().startswith("No connection")
        assert editor.badge.text() == "FAIL"
    document = asking(url)
    document.take("target.port", 80)
    with connection_to(qtbot, document) as editor:
        assert "port" in editor.strip.text()
        assert editor.rows.rows == ()


def test_an_answer_at_once_where_a_stream_was_asked_for(qtbot: QtBot) -> None:
    answer = {"object": "chat.completion", "usage": {"prompt_tokens": 8, "completion_tokens": 1}, "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "tok "}}]}  # fmt: skip
    with ScriptedServer(Script(faces=(HttpFace(answer=answer),))) as server:
        document = asking(server.url, protocol="openai-chat", model="m")
        document.take("workload", {"prompts": {"input_tokens": 8, "output_tokens": 4}})
        with connection_to(qtbot, document) as editor:
            assert editor.strip.text().startswith("Not streaming")
            assert editor.badge.text() == "WARN"
            assert dict(editor.rows.rows)["First token (TTFT)"] == "n/a"


def test_what_was_found_is_forgotten_when_the_target_changes_and_not_before(qtbot: QtBot) -> None:
    with ScriptedServer(Script()) as server, connection_to(qtbot, asking(server.url)) as editor:
        document = asking(server.url)
        document.take("load.seed", 8)
        editor.show_document(document)
        assert editor.rows.rows
        document.take("target.headers", {"Accept": "text/plain"})
        editor.show_document(document)
        assert not editor.rows.rows


def test_a_test_can_be_stopped(qtbot: QtBot) -> None:
    editor = ConnectionEditor()
    qtbot.addWidget(editor)
    with ScriptedServer(Script(reply=Reply(manner="hang"))) as server:
        editor.show_document(asking(server.url))
        editor.show()
        qtbot.mouseClick(editor.test, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(server.requests), timeout=30_000)
        qtbot.mouseClick(editor.stop, Qt.MouseButton.LeftButton)
    assert not editor.command.is_running
    assert editor.strip.text() == "The test was stopped."
    assert editor.test.isEnabled()
