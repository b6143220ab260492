"""Sending a secret to a host without permission needs a confirmation."""

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
from tests.fakes.edited_document import EditedDocument

SECRETS = AllowedSecrets("mine", "10.0.0.5", ("env:KEY",))
PROFILE = (
    ENDPOINT_TEMPLATE.format(name="mine")
    .replace("127.0.0.1", "10.0.0.5")
    .replace("target:\n", "target:\n  api_key: env:KEY\n")
)
Button = QMessageBox.StandardButton


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Record the questions and answer No to each."""
    questions_shown: list[str] = []

    def question(_parent: QWidget, _title: str, text: str) -> QMessageBox.StandardButton:
        questions_shown.append(text)
        return Button.No

    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(QMessageBox, "question", question)
    return questions_shown


@pytest.mark.parametrize(("answer", "is_remembered"), [(Button.Yes, True), (Button.No, False)])
def test_permission_is_stored_after_yes_and_not_after_no(
    qtbot: QtBot, questions: list[str], monkeypatch: pytest.MonkeyPatch, answer: Button, is_remembered: bool
) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)

    def question(_parent: QWidget, _title: str, text: str) -> Button:
        questions.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    assert confirm_secrets(parent, [SECRETS]) == is_remembered
    assert questions == ["Profile mine sends env:KEY to 10.0.0.5. Allow it for this profile from now on?"]
    assert is_allowed(SECRETS) == is_remembered


def test_start_is_canceled_if_the_secrets_are_not_permitted(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, theme: ThemeController
) -> None:
    (tmp_path / "mine.yaml").write_text(PROFILE)
    run_page = RunPage(navigation, theme)
    qtbot.addWidget(run_page)
    run_page.open_profile(tmp_path / "mine.yaml")
    qtbot.waitUntil(lambda: run_page.presenter.state().is_checked)
    with qtbot.assertNotEmitted(navigation.launch_requested):
        assert run_page.start()
    assert len(questions) == 1


def test_connection_test_is_not_sent_if_the_secrets_are_not_permitted(qtbot: QtBot, questions: list[str]) -> None:
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


def test_secrets_of_both_pair_profiles_are_listed_once(tmp_path: Path, questions: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(PROFILE)
    suggestion = PairsSuggestion(3, 10.0, tmp_path / "mine.yaml", tmp_path / "mine.yaml")
    assert find_secrets_to_send(suggestion) == (SECRETS,)
    assert find_secrets_to_send(PairsSuggestion(3, 10.0, None, tmp_path / "missing.yaml")) == ()


def test_draft_with_a_file_beside_its_profile_needs_no_confirmation(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, theme: ThemeController
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    text = PROFILE.replace("  api_key: env:KEY\n", "")
    tree = read_document(text.encode(), "x").value
    tree["workload"] = {"dataset": "rows.jsonl"}
    (tmp_path / "mine.yaml").write_text(format_document(tree))
    run_page = RunPage(navigation, theme)
    qtbot.addWidget(run_page)
    run_page.open_profile(tmp_path / "mine.yaml")
    run_page.presenter.document.set_dotted_value("load.seed", 99)
    qtbot.waitUntil(lambda: run_page.presenter.state().is_checked)
    with qtbot.waitSignal(navigation.launch_requested) as launched:
        assert run_page.start()
    assert questions == []
    assert launched.args is not None
    (launch,) = launched.args
    draft = load_profile(Path(launch.arguments[1]))
    assert str(tmp_path / "rows.jsonl") in format_spec(draft)
    assert find_secrets_to_allow(draft) == ()


def test_start_with_a_file_outside_the_profile_folder_requests_confirmation(
    qtbot: QtBot, questions: list[str], tmp_path: Path, navigation: Navigation, theme: ThemeController
) -> None:
    (tmp_path / "stranger").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    tree = read_document(PROFILE.replace("  api_key: env:KEY\n", "").encode(), "x").value
    tree["workload"] = {"dataset": "../rows.jsonl"}
    tree["target"]["permitted"] = True
    (tmp_path / "stranger" / "mine.yaml").write_text(format_document(tree))
    run_page = RunPage(navigation, theme)
    qtbot.addWidget(run_page)
    run_page.open_profile(tmp_path / "stranger" / "mine.yaml")
    qtbot.waitUntil(lambda: run_page.presenter.state().is_checked)
    with qtbot.assertNotEmitted(navigation.launch_requested):
        assert run_page.start()
    (question,) = questions
    assert f"file:{tmp_path / 'rows.jsonl'}" in question
    assert "10.0.0.5" in question
