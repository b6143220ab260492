"""A click that would send a secret to a host that nobody has allowed asks first, and a no sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QMessageBox, QWidget
from pytestqt.qtbot import QtBot

from app.gui.compare.pairs_suggestion import PairsSuggestion, find_secrets_to_send
from app.gui.navigation import Navigation
from app.gui.run.connection_test_panel import ConnectionTestPanel
from app.gui.run.page import RunPage
from app.gui.secret_consent import confirm_secrets
from app.gui.theme import ThemeController
from app.profiles.document import format_document, read_document
from app.profiles.loading import load_profile
from app.profiles.resolved import format_spec
from app.profiles.templates import ENDPOINT_TEMPLATE
from app.storage.allowed_secrets import AllowedSecrets, is_allowed
from app.wiring.secret_consent import find_secrets_to_allow
from tests.fakes.edited import EditedDocument

WANTED = AllowedSecrets("mine", "10.0.0.5", ("env:KEY",))
PROFILE = (
    ENDPOINT_TEMPLATE.format(name="mine")
    .replace("127.0.0.1", "10.0.0.5")
    .replace("target:\n", "target:\n  api_key: env:KEY\n")
)
Button = QMessageBox.StandardButton


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was asked; every answer is no."""
    asked: list[str] = []

    def question(_parent: QWidget, _title: str, text: str) -> QMessageBox.StandardButton:
        asked.append(text)
        return Button.No

    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(QMessageBox, "question", question)
    return asked


@pytest.mark.parametrize(("answer", "is_remembered"), [(Button.Yes, True), (Button.No, False)])
def test_a_yes_is_remembered_and_a_no_is_not(
    qtbot: QtBot, questions: list[str], monkeypatch: pytest.MonkeyPatch, answer: Button, is_remembered: bool
) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)

    def question(_parent: QWidget, _title: str, text: str) -> Button:
        questions.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    assert confirm_secrets(parent, [WANTED]) == is_remembered
    assert questions == ["Profile mine sends env:KEY to 10.0.0.5. Allow it for this profile from now on?"]
    assert is_allowed(WANTED) == is_remembered


def test_start_asks_and_launches_nothing_on_a_no(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, look: ThemeController
) -> None:
    (tmp_path / "mine.yaml").write_text(PROFILE)
    bench = RunPage(navigation, look)
    qtbot.addWidget(bench)
    bench.open_profile(tmp_path / "mine.yaml")
    qtbot.waitUntil(lambda: bench.presenter.state().is_checked)
    with qtbot.assertNotEmitted(navigation.launch_requested):
        assert bench.start()
    assert len(questions) == 1


def test_a_test_of_the_connection_asks_and_sends_nothing_on_a_no(qtbot: QtBot, questions: list[str]) -> None:
    editor = ConnectionTestPanel()
    qtbot.addWidget(editor)
    target = {"protocol": "http", "url": "http://10.0.0.5/score", "api_key": "env:KEY"}
    load = {"stages": [{"rate": "1/s", "duration": "1s"}]}
    editor.show_document(
        EditedDocument({"sizewise": 1, "name": "mine", "target": target, "workload": {"body": 1}, "load": load})
    )
    editor.run_test()
    assert len(questions) == 1
    assert editor.status_label.text() == "No request was sent."
    assert editor.test_button.isEnabled()


def test_pairs_ask_once_for_what_both_profiles_send(tmp_path: Path, questions: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(PROFILE)
    offer = PairsSuggestion(3, 10.0, tmp_path / "mine.yaml", tmp_path / "mine.yaml")
    assert find_secrets_to_send(offer) == (WANTED,)
    assert find_secrets_to_send(PairsSuggestion(3, 10.0, None, tmp_path / "missing.yaml")) == ()


def test_a_draft_reads_the_files_beside_the_edited_profile_without_a_question(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, look: ThemeController
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    text = PROFILE.replace("  api_key: env:KEY\n", "")
    tree = read_document(text.encode(), "x").value
    tree["workload"] = {"dataset": "rows.jsonl"}
    (tmp_path / "mine.yaml").write_text(format_document(tree))
    bench = RunPage(navigation, look)
    qtbot.addWidget(bench)
    bench.open_profile(tmp_path / "mine.yaml")
    bench.presenter.document.set_dotted_value("load.seed", 99)
    qtbot.waitUntil(lambda: bench.presenter.state().is_checked)
    with qtbot.waitSignal(navigation.launch_requested) as launched:
        assert bench.start()
    assert questions == []
    assert launched.args is not None
    (launch,) = launched.args
    draft = load_profile(Path(launch.arguments[1]))
    assert str(tmp_path / "rows.jsonl") in format_spec(draft)
    assert find_secrets_to_allow(draft) == ()


def test_start_asks_for_a_file_outside_the_profiles_folder(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, look: ThemeController
) -> None:
    (tmp_path / "stranger").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    tree = read_document(PROFILE.replace("  api_key: env:KEY\n", "").encode(), "x").value
    tree["workload"] = {"dataset": "../rows.jsonl"}
    tree["target"]["permitted"] = True
    (tmp_path / "stranger" / "mine.yaml").write_text(format_document(tree))
    bench = RunPage(navigation, look)
    qtbot.addWidget(bench)
    bench.open_profile(tmp_path / "stranger" / "mine.yaml")
    qtbot.waitUntil(lambda: bench.presenter.state().is_checked)
    with qtbot.assertNotEmitted(navigation.launch_requested):
        assert bench.start()
    (question,) = questions
    assert f"file:{tmp_path / 'rows.jsonl'}" in question
    assert "10.0.0.5" in question
