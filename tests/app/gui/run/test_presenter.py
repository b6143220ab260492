from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.navigation import Navigation
from app.gui.run import drafts
from app.gui.run.presenter import ENDPOINT_NAME, URL_PATH, RunPresenter
from app.profiles.bundled import bundled_profiles
from app.profiles.loading import load_profile
from app.profiles.resolved import compute_profile_hash
from app.profiles.templates import ENDPOINT_TEMPLATE, list_default_objectives
from app.storage.run_directory import runs_home

VALID_PROFILE = ENDPOINT_TEMPLATE.format(name="mine")


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def presenter(owner: QWidget, navigation: Navigation) -> RunPresenter:
    return RunPresenter(navigation, owner)


def open_and_check(qtbot: QtBot, presenter: RunPresenter, text: str, path: Path | None = None) -> None:
    presenter.document.open(text, path)
    qtbot.waitUntil(lambda: presenter.state().is_checked)


def test_run_start_is_blocked_with_a_reason_until_the_profile_is_valid(qtbot: QtBot, presenter: RunPresenter) -> None:
    presenter.document.open(VALID_PROFILE.replace("30s", "30"), None)
    assert presenter.state().blocked_reason == "Checking the profile…"
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    assert "duration" in presenter.state().blocked_reason
    assert presenter.launch() is None
    presenter.document.set_dotted_value("load.stages.0.duration", "30s")
    assert presenter.state().blocked_reason
    qtbot.waitUntil(lambda: not presenter.state().blocked_reason)


def test_run_start_launches_a_draft_that_equals_the_edited_profile(qtbot: QtBot, presenter: RunPresenter) -> None:
    path = bundled_profiles()["local-model"]
    open_and_check(qtbot, presenter, path.read_text(), path)
    assert presenter.command_line() == "sizewise run local-model"
    presenter.document.set_dotted_value("load.max_duration", "2s")
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    launch = presenter.launch()
    assert launch is not None
    assert launch.arguments[0] == "run"
    assert launch.directory.parent == runs_home()
    assert launch.name == "local-model"
    started = load_profile(Path(launch.arguments[1]))
    assert compute_profile_hash(started) == compute_profile_hash(load_profile(path, ["load.max_duration=2s"]))
    assert presenter.command_line() == f"sizewise run {launch.arguments[1]}"


def test_each_run_start_has_its_own_directory_and_profile(qtbot: QtBot, presenter: RunPresenter) -> None:
    open_and_check(qtbot, presenter, VALID_PROFILE)
    first = presenter.launch()
    presenter.document.set_dotted_value("load.seed", 99)
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    second = presenter.launch()
    assert first is not None
    assert second is not None
    assert first.directory != second.directory
    assert [load_profile(Path(launch.arguments[1])).load.seed for launch in (first, second)] == [7, 99]


def test_saved_profile_is_run_from_its_file(qtbot: QtBot, presenter: RunPresenter, tmp_path: Path) -> None:
    open_and_check(qtbot, presenter, VALID_PROFILE)
    path = tmp_path / "my own.yaml"
    presenter.save(path)
    assert path.read_text() == VALID_PROFILE
    assert presenter.state().is_saved
    assert presenter.command_line() == f"sizewise run '{path}'"


def test_profile_saved_to_another_folder_has_the_same_paths_and_comments(
    qtbot: QtBot, presenter: RunPresenter, tmp_path: Path
) -> None:
    path = bundled_profiles()["quickstart"]
    open_and_check(qtbot, presenter, path.read_text(), path)
    presenter.save(tmp_path / "mine.yaml")
    assert compute_profile_hash(load_profile(tmp_path / "mine.yaml")) == compute_profile_hash(load_profile(path))
    assert "# The question" in (tmp_path / "mine.yaml").read_text()


def test_unsaved_profile_edits_are_recovered_from_the_draft(
    qtbot: QtBot, presenter: RunPresenter, navigation: Navigation
) -> None:
    path = bundled_profiles()["quickstart"]
    presenter.document.open(path.read_text(), path)
    presenter.save_draft()
    assert drafts.load_draft() is None
    presenter.document.set_dotted_value("load.search.start", "99/s")
    presenter.save_draft()
    text, draft = presenter.document.text, drafts.load_draft()
    assert draft is not None
    recovered = RunPresenter(navigation, presenter)
    recovered.recover(draft)
    assert recovered.document.text == text
    assert recovered.document.path == path
    assert not recovered.state().is_saved
    qtbot.waitUntil(lambda: recovered.state().is_checked)
    assert recovered.state().issues == ()


def test_saving_the_profile_removes_its_draft(qtbot: QtBot, presenter: RunPresenter, tmp_path: Path) -> None:
    presenter.document.open(VALID_PROFILE, None)
    presenter.document.set_dotted_value("load.seed", 8)
    presenter.save_draft()
    assert drafts.load_draft() is not None
    presenter.save(tmp_path / "mine.yaml")
    assert drafts.load_draft() is None


def test_change_of_protocol_is_undone_in_a_single_step(presenter: RunPresenter) -> None:
    presenter.document.open(VALID_PROFILE, None)
    presenter.apply_edit(("target", "protocol"), "openai-chat")
    assert presenter.state().protocol == "openai-chat"
    assert "prompts" in presenter.document.tree["workload"]
    presenter.document.undo_stack.undo()
    assert presenter.document.text == VALID_PROFILE


PROFILE_WITH_SECRET = VALID_PROFILE.replace("target:", 'target:\n  headers: {X-Api-Key: "canary-7f3a"}', 1)


def test_plain_text_secret_is_stored_in_no_draft_and_blocks_the_start(
    qtbot: QtBot, presenter: RunPresenter, tmp_path: Path
) -> None:
    open_and_check(qtbot, presenter, PROFILE_WITH_SECRET)
    presenter.document.set_dotted_value("name", "edited")
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    presenter.save_draft()
    draft = drafts.load_draft()
    assert draft is not None
    assert "name: edited" in draft.text
    assert "target.headers.X-Api-Key contains a plain-text secret" in presenter.state().blocked_reason
    assert presenter.launch() is None
    presenter.document.set_text(presenter.document.text + "\n: [half-typed")
    presenter.save_draft()
    written = b"".join(path.read_bytes() for path in runs_home().parent.rglob("*") if path.is_file())
    assert b"canary-7f3a" not in written
    presenter.document.set_text(PROFILE_WITH_SECRET)
    presenter.save(tmp_path / "mine.yaml")
    qtbot.waitUntil(lambda: not presenter.state().blocked_reason)


def test_protocol_and_slo_follow_an_edited_url(qtbot: QtBot, presenter: RunPresenter) -> None:
    document = presenter.document
    document.open(ENDPOINT_TEMPLATE.format(name=ENDPOINT_NAME), None)
    document.set_dotted_value("target.url", "http://h/v1")
    assert presenter.adopt_url() is None, "the field was not edited"
    presenter.apply_edit(URL_PATH, "http://h/v1/chat/completions")
    assert presenter.adopt_url() == "openai-chat"
    assert (document.value("target.url"), "sweep" in document.tree["load"]) == ("http://h/v1", True)
    assert document.value("slo") == list_default_objectives("openai-chat")
    presenter.apply_suggested_slo(["ttft_ms.p95 < 8"])
    presenter.convert_protocol("http")
    assert document.value("slo") == list_default_objectives("http"), "a suggestion is no edit of the user"
    document.undo_stack.undo()
    presenter.apply_edit(("slo",), ["ttft_ms.p95 < 9"])
    presenter.convert_protocol("http")
    assert document.value("slo") == ["ttft_ms.p95 < 9"]
    assert presenter.adopt_url() is None, "the protocol was chosen after the URL"


def test_undone_url_recognition_is_not_repeated(qtbot: QtBot, presenter: RunPresenter) -> None:
    document = presenter.document
    document.open(VALID_PROFILE, None)
    presenter.apply_edit(URL_PATH, "http://h/v1")
    assert presenter.adopt_url() == "openai-chat"
    document.undo_stack.undo()
    assert (document.value("target.protocol"), presenter.adopt_url()) == ("http", None)
