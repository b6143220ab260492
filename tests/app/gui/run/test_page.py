from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLabel, QLineEdit, QMenu, QPlainTextEdit, QWidget
from pytestqt.qtbot import QtBot

from app.gui.forms.group import NestedGroup
from app.gui.navigation import Navigation
from app.gui.run import drafts
from app.gui.run.page import RunPage
from app.gui.run.preview import Preview
from app.gui.theme import ThemeController
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.loading import load_profile
from app.profiles.templates import ENDPOINT_TEMPLATE
from tests.fakes import decoders
from tests.fakes.window_actions import fill_in

VALID_PROFILE = ENDPOINT_TEMPLATE.format(name="mine")


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> Iterator[RunPage]:
    page = RunPage(navigation, theme)
    page.resize(1180, 760)
    page.show()
    page.enter()
    yield page
    page.close()
    shiboken6.delete(page)  # immediately: widgets with a deferred deletion are restyled at every theme change


@pytest.fixture
def user_profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(VALID_PROFILE)
    return path


def is_hidden(part: object) -> bool:
    assert isinstance(part, QWidget)
    return part.isHidden()


def wait_until_checked(qtbot: QtBot, page: RunPage) -> RunPage:
    qtbot.waitUntil(lambda: page.presenter.state().is_checked)
    return page


def test_empty_run_page_offers_a_startable_sample_profile(qtbot: QtBot, page: RunPage, navigation: Navigation) -> None:
    assert (page.start(), page.command_line(), page.export(), page.has_unsaved_changes) == (False, None, False, False)
    assert page.empty_state.sample_button.hasFocus()
    qtbot.mouseClick(page.empty_state.sample_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(page.header.start_button.isEnabled)
    assert page.command_line() == "sizewise run quickstart"
    with qtbot.waitSignal(navigation.launch_requested) as launched:
        qtbot.mouseClick(page.header.start_button, Qt.MouseButton.LeftButton)
    assert launched.args is not None
    assert launched.args[0].arguments == ("run", "quickstart")


def test_language_model_form_shows_the_fields_of_its_tests(
    qtbot: QtBot, page: RunPage, tmp_path: Path, navigation: Navigation
) -> None:
    folder = decoders.contiguous(tmp_path / "tiny")
    page.open_model(folder)
    wait_until_checked(qtbot, page)
    form, document = page.form, page.presenter.document
    tests = form.find_part(("load", "tests"))
    sections = [form.sections[name] for name in ("load", "workload", "target")]
    groups = [section.group() for section in sections if isinstance(section, NestedGroup)]
    visible_keys = {key for group in groups for key, part in group.parts.items() if not is_hidden(part)}
    assert {"tests", "text", "text_tokens", "max_duration"} <= visible_keys
    assert not {"scenarios", "rates", "tensors", "labels", "output", "precision", "batch", "providers"} & visible_keys
    document.set_text(document.text.replace("[pp512, tg128]", "[pp16, tg8, tg0]"))
    qtbot.waitUntil(lambda: bool(page.presenter.state().issues))
    assert page.presenter.state().issues[0].path == ("load", "tests", 2)
    assert [row.line.text() for row in tests.editor.rows] == ["pp16", "tg8", "tg0"]
    fill_in(qtbot, tests.editor.rows[2].line, "pp8+tg8")
    qtbot.waitUntil(lambda: page.presenter.state().is_checked and not page.presenter.state().blocked_reason)
    assert "tests: [pp16, tg8, pp8+tg8]" in document.text
    page.header.start_button.setFocus()
    with qtbot.waitSignal(navigation.launch_requested):
        qtbot.keyClick(page.header.start_button, Qt.Key.Key_Space)


def test_form_and_yaml_editor_stay_synchronized(qtbot: QtBot, page: RunPage, user_profile: Path) -> None:
    page.open_profile(user_profile)
    rate = page.form.find_part(("load", "stages", 0, "rate")).editor.line
    rate.selectAll()
    qtbot.keyClicks(rate, "70/s")
    assert "rate: 70/s, duration" in page.source.yaml_edit.toPlainText()
    page.source.yaml_edit.setPlainText(page.source.yaml_edit.toPlainText().replace("70/s", "80/s"))
    assert rate.text() == "80/s"
    assert page.has_unsaved_changes
    stack = page.undo_stack()
    assert stack is not None
    stack.undo()
    stack.undo()
    assert page.source.yaml_edit.toPlainText() == VALID_PROFILE
    assert not page.has_unsaved_changes


def test_invalid_yaml_is_reported_once_with_its_line_and_disables_the_form(
    qtbot: QtBot, page: RunPage, user_profile: Path
) -> None:
    page.open_profile(user_profile)
    page.source.yaml_edit.setPlainText(VALID_PROFILE + "x: [\n")
    problem = page.error_strip.text().splitlines()[0]
    assert problem.startswith("Line ")
    assert len([label for label in page.findChildren(QLabel) if problem in label.text()]) == 1, (
        "the error is shown once"
    )
    assert not page.form.isEnabled()
    assert not page.header.start_button.isEnabled()
    page.source.yaml_edit.setPlainText(VALID_PROFILE)
    assert page.form.isEnabled()
    qtbot.waitUntil(page.header.start_button.isEnabled)


def test_profile_with_an_unclosed_bracket_has_a_single_error_at_its_line(
    qtbot: QtBot, page: RunPage, tmp_path: Path
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("sizewise: 1\nslo: [latency_ms.p95 < 50\nname: x\n")
    page.open_profile(path)
    assert page.error_strip.text().splitlines()[0] == "Line 2: The bracket [ is not closed."
    preview = page.findChild(Preview)
    assert preview is not None
    qtbot.waitUntil(lambda: not preview._latest_view.is_busy)
    assert not preview.strip.isVisibleTo(page)


def test_profile_error_is_shown_at_its_field_and_the_strip_focuses_the_field(
    qtbot: QtBot, page: RunPage, user_profile: Path
) -> None:
    page.open_profile(user_profile)
    row = page.form.find_part(("load", "stages", 0, "duration"))
    row.editor.line.selectAll()
    qtbot.keyClicks(row.editor.line, "30")
    qtbot.waitUntil(lambda: "no unit" in row.problem_label.text())
    assert "Use a value such as 30s" in row.problem_label.text()
    assert not page.header.start_button.isEnabled()
    assert "no unit" in page.header.start_button.accessibleDescription()
    assert page.header.state_badge.text() == "Has errors"
    page.form.search.setFocus()
    page.error_strip.action_triggered.emit()
    assert row.editor.line.hasFocus()
    qtbot.keyClicks(row.editor.line, "s")
    qtbot.waitUntil(page.header.start_button.isEnabled)
    assert row.problem_label.text() == ""
    assert page.error_strip.text() == ""


def test_profile_typo_is_corrected_by_the_button_of_the_strip(qtbot: QtBot, page: RunPage, user_profile: Path) -> None:
    user_profile.write_text(VALID_PROFILE.replace("  method:", "  mehtod:"))
    page.open_profile(user_profile)
    wait_until_checked(qtbot, page)
    assert "Did you mean 'method'?" in page.error_strip.text()
    page.error_strip.action_triggered.emit()
    qtbot.waitUntil(page.header.start_button.isEnabled)
    assert page.presenter.document.tree == read_document(VALID_PROFILE.encode(), "x").value


def test_opened_model_becomes_a_local_profile(qtbot: QtBot, page: RunPage, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"x")
    page.open_model(model)
    wait_until_checked(qtbot, page)
    assert page.form.view == "local"
    assert page.presenter.document.tree["target"]["model"] == str(model)
    assert page.presenter.state().issues == ()


def test_undo_of_a_recognized_url_is_offered_until_the_next_edit(page: RunPage) -> None:
    page.create_endpoint_profile()
    page.presenter.apply_edit(("target", "url"), "http://127.0.0.1:1/v1/chat/completions")
    assert page.adopt_url()
    page.notice_strip.action_triggered.emit()
    assert page.presenter.state().protocol == "http"
    page.presenter.apply_edit(("target", "url"), "http://127.0.0.1:2/v1/chat/completions")
    assert page.adopt_url()
    assert not page.notice_strip.isHidden()
    page.presenter.apply_edit(("name",), "renamed")
    assert page.notice_strip.isHidden(), "the button would undo the name instead"


def test_view_button_opens_its_section_and_offers_to_convert_the_profile(
    qtbot: QtBot, page: RunPage, user_profile: Path
) -> None:
    page.open_profile(user_profile)
    page.header.view_buttons.button(2).click()
    assert page.form.sections["slo"].is_open
    assert not page.form.sections["target"].is_open
    page.notice_strip.action_triggered.emit()
    assert "search" in page.presenter.document.tree["load"]
    page.header.view_buttons.button(0).click()
    page.notice_strip.action_triggered.emit()
    assert page.presenter.state().protocol == "local"
    stack = page.undo_stack()
    assert stack is not None
    stack.undo()
    assert page.form.protocol == "http"


def test_draft_of_a_crashed_window_is_offered_and_opened(
    qtbot: QtBot, navigation: Navigation, theme: ThemeController
) -> None:
    drafts.save_draft(drafts.Draft(VALID_PROFILE, None, "/tmp"))
    page = RunPage(navigation, theme)
    qtbot.addWidget(page)
    page.enter()
    assert "A profile with unsaved changes was recovered" in page.recovery_strip.text()
    page.recovery_strip.action_triggered.emit()
    assert page.presenter.document.text == VALID_PROFILE
    assert page.has_unsaved_changes
    assert page.recovery_strip.text() == ""


def test_unsaved_edits_are_recoverable_after_another_profile_is_opened(
    qtbot: QtBot, page: RunPage, user_profile: Path
) -> None:
    page.open_profile(user_profile)
    page.presenter.document.set_dotted_value("load.seed", 99)
    edited = page.presenter.document.text
    page.open_profile(bundled_profiles()["chat"])
    assert "unsaved changes" in page.recovery_strip.text()
    page.recovery_strip.action_triggered.emit()
    assert (page.presenter.document.text, page.presenter.document.path) == (edited, user_profile)


def test_copied_command_runs_the_edited_profile(qtbot: QtBot, page: RunPage, user_profile: Path) -> None:
    page.open_profile(user_profile)
    page.presenter.document.set_dotted_value("load.seed", 99)
    page.copy_command()
    line = QGuiApplication.clipboard().text()
    assert line == page.command_line()
    assert load_profile(Path(line.split()[-1])).load.seed == 99


def test_ci_job_is_exported_and_existing_files_are_not_overwritten(
    qtbot: QtBot, page: RunPage, navigation: Navigation, user_profile: Path, tmp_path: Path
) -> None:
    page.open_profile(user_profile)
    repository = tmp_path / "repository"
    repository.mkdir()
    page.export_ci_job("github", repository)
    workflow = (repository / ".github/workflows/benchmark.yml").read_text()
    assert "sizewise run mine.yaml --out results" in workflow
    assert load_profile(repository / "mine.yaml").name == "mine"
    (repository / "mine.yaml").write_text("mine, changed")
    with qtbot.waitSignal(navigation.notice_emitted) as notices:
        page.export_ci_job("github", repository)
    assert notices.args is not None
    assert notices.args[0].severity == "error"
    assert (repository / "mine.yaml").read_text() == "mine, changed"


def test_profile_menu_lists_recent_and_bundled_profiles(qtbot: QtBot, page: RunPage, user_profile: Path) -> None:
    page.open_profile(user_profile)
    menu = page.header.chooser.profile_menu
    menu.aboutToShow.emit()
    assert any(action.text().startswith("mine.yaml") for action in menu.actions())
    bundled = next(action.menu() for action in menu.actions() if "Bundled" in action.text())
    assert isinstance(bundled, QMenu)
    chat = next(action for action in bundled.actions() if action.text().startswith("chat "))
    chat.trigger()
    assert page.presenter.document.path == bundled_profiles()["chat"]


@pytest.mark.parametrize("name", ["chat", "local-model"])
def test_input_widgets_of_the_run_page_have_accessible_names(qtbot: QtBot, page: RunPage, name: str) -> None:
    page.open_profile(bundled_profiles()[name])
    usable = (QAbstractButton, QLineEdit, QComboBox, QPlainTextEdit)
    inside_others = {"qt_spinbox_lineedit"}
    nameless = [
        f"{type(widget).__name__} {getattr(widget, 'text', str)()}"
        for widget in page.findChildren(QWidget)
        if isinstance(widget, usable) and widget.isVisibleTo(page) and not widget.accessibleName()
        if not (isinstance(widget, QAbstractButton) and widget.text())
        if widget.objectName() not in inside_others and not isinstance(widget.parent(), QLineEdit | QComboBox)
    ]
    assert nameless == []


def test_form_of_the_run_page_fits_its_width_at_twice_the_text_size(
    qtbot: QtBot, page: RunPage, theme: ThemeController
) -> None:
    theme.scale_text(2.0)
    page.open_profile(bundled_profiles()["local-model"])
    page.resize(1180, 760)
    area = page.form.area
    inside = area.widget()
    assert inside is not None
    try:
        qtbot.waitUntil(lambda: area.viewport().width() >= inside.minimumSizeHint().width())
    finally:
        theme.scale_text(1.0)


def test_errors_of_the_previous_profile_are_cleared_when_a_profile_is_opened(
    qtbot: QtBot, page: RunPage, user_profile: Path
) -> None:
    user_profile.write_text(VALID_PROFILE.replace("  method:", "  mehtod:"))
    page.open_profile(user_profile)
    wait_until_checked(qtbot, page)
    assert page.error_strip.text()
    user_profile.write_text(VALID_PROFILE)
    page.open_profile(user_profile)
    assert not page.error_strip.text()
    assert page.source.yaml_edit.extraSelections() == []
