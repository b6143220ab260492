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

RIGHT = ENDPOINT_TEMPLATE.format(name="mine")


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    return made


@pytest.fixture
def presenter(owner: QWidget, navigation: Navigation) -> RunPresenter:
    return RunPresenter(navigation, owner)


def opened(qtbot: QtBot, presenter: RunPresenter, text: str, path: Path | None = None) -> None:
    presenter.document.open(text, path)
    qtbot.waitUntil(lambda: presenter.state().is_checked)


def test_start_is_barred_with_the_reason_until_the_profile_is_right(qtbot: QtBot, presenter: RunPresenter) -> None:
    presenter.document.open(RIGHT.replace("30s", "30"), None)
    assert presenter.state().blocked_reason == "Checking the profile…"
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    assert "duration" in presenter.state().blocked_reason
    assert presenter.launch() is None
    presenter.document.set_dotted_value("load.stages.0.duration", "30s")
    assert presenter.state().blocked_reason
    qtbot.waitUntil(lambda: not presenter.state().blocked_reason)


def test_start_launches_a_draft_that_loads_as_the_form_showed(qtbot: QtBot, presenter: RunPresenter) -> None:
    path = bundled_profiles()["local-model"]
    opened(qtbot, presenter, path.read_text(), path)
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


def test_what_was_started_can_be_repeated_as_it_was(qtbot: QtBot, presenter: RunPresenter) -> None:
    opened(qtbot, presenter, RIGHT)
    first = presenter.launch()
    presenter.document.set_dotted_value("load.seed", 99)
    qtbot.waitUntil(lambda: presenter.state().is_checked)
    second = presenter.launch()
    assert first is not None
    assert second is not None
    assert first.directory != second.directory
    assert [load_profile(Path(one.arguments[1])).load.seed for one in (first, second)] == [7, 99]


def test_a_saved_profile_is_run_from_its_file(qtbot: QtBot, presenter: RunPresenter, tmp_path: Path) -> None:
    opened(qtbot, presenter, RIGHT)
    path = tmp_path / "my own.yaml"
    presenter.save(path)
    assert path.read_text() == RIGHT
    assert presenter.state().is_saved
    assert presenter.command_line() == f"sizewise run '{path}'"


def test_saved_elsewhere_its_paths_lead_where_they_led(qtbot: QtBot, presenter: RunPresenter, tmp_path: Path) -> None:
    path = bundled_profiles()["quickstart"]
    opened(qtbot, presenter, path.read_text(), path)
    presenter.save(tmp_path / "mine.yaml")
    assert compute_profile_hash(load_profile(tmp_path / "mine.yaml")) == compute_profile_hash(load_profile(path))
    assert "# The question" in (tmp_path / "mine.yaml").read_text()


def test_unsaved_edits_outlive_the_window(qtbot: QtBot, presenter: RunPresenter, navigation: Navigation) -> None:
    path = bundled_profiles()["quickstart"]
    presenter.document.open(path.read_text(), path)
    presenter.save_draft()
    assert drafts.load_draft() is None
    presenter.document.set_dotted_value("load.search.start", "99/s")
    presenter.save_draft()
    text, draft = presenter.document.text, drafts.load_draft()
    assert draft is not None
    after_the_crash = RunPresenter(navigation, presenter)
    after_the_crash.recover(draft)
    assert after_the_crash.document.text == text
    assert after_the_crash.document.path == path
    assert not after_the_crash.state().is_saved
    qtbot.waitUntil(lambda: after_the_crash.state().is_checked)
    assert after_the_crash.state().issues == ()


def test_what_was_saved_leaves_no_draft(qtbot: QtBot, presenter: RunPresenter, tmp_path: Path) -> None:
    presenter.document.open(RIGHT, None)
    presenter.document.set_dotted_value("load.seed", 8)
    presenter.save_draft()
    assert drafts.load_draft() is not None
    presenter.save(tmp_path / "mine.yaml")
    assert drafts.load_draft() is None


def test_another_protocol_is_one_step_to_undo(presenter: RunPresenter) -> None:
    presenter.document.open(RIGHT, None)
    presenter.apply_edit(("target", "protocol"), "openai-chat")
    assert presenter.state().protocol == "openai-chat"
    assert "prompts" in presenter.document.tree["workload"]
    presenter.document.undo_stack.undo()
    assert presenter.document.text == RIGHT


HOLDING = RIGHT.replace("target:", 'target:\n  headers: {X-Api-Key: "canary-7f3a"}', 1)


def test_a_secret_that_is_written_out_is_in_no_file_that_nobody_asked_for(
    qtbot: QtBot, presenter: RunPresenter, tmp_path: Path
) -> None:
    opened(qtbot, presenter, HOLDING)
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
    presenter.document.set_text(HOLDING)
    presenter.save(tmp_path / "mine.yaml")
    qtbot.waitUntil(lambda: not presenter.state().blocked_reason)


def test_the_profile_follows_the_url_once_it_is_edited(qtbot: QtBot, presenter: RunPresenter) -> None:
    document = presenter.document
    document.open(ENDPOINT_TEMPLATE.format(name=ENDPOINT_NAME), None)
    document.set_dotted_value("target.url", "http://h/v1")
    assert presenter.adopt_url() is None, "nobody edited the field"
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


def test_undo_of_the_recognized_url_stays(qtbot: QtBot, presenter: RunPresenter) -> None:
    document = presenter.document
    document.open(RIGHT, None)
    presenter.apply_edit(URL_PATH, "http://h/v1")
    assert presenter.adopt_url() == "openai-chat"
    document.undo_stack.undo()
    assert (document.value("target.protocol"), presenter.adopt_url()) == ("http", None)
