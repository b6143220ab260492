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
from tests.fakes.driving import fill_in

RIGHT = ENDPOINT_TEMPLATE.format(name="mine")


@pytest.fixture
def page(qtbot: QtBot, navigation: Navigation, look: ThemeController) -> Iterator[RunPage]:
    made = RunPage(navigation, look)
    made.resize(1180, 760)
    made.show()
    made.enter()
    yield made
    made.close()
    shiboken6.delete(made)  # at once: a thousand widgets that wait to be deleted are styled again with every theme


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RIGHT)
    return path


def is_hidden(part: object) -> bool:
    assert isinstance(part, QWidget)
    return part.isHidden()


def checked(qtbot: QtBot, page: RunPage) -> RunPage:
    qtbot.waitUntil(lambda: page.presenter.state().is_checked)
    return page


def test_an_empty_page_offers_a_sample_that_can_be_started(qtbot: QtBot, page: RunPage, navigation: Navigation) -> None:
    assert (page.start(), page.command_line(), page.export(), page.has_unsaved_changes) == (False, None, False, False)
    assert page.empty_state.sample_button.hasFocus()
    qtbot.mouseClick(page.empty_state.sample_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(page.header.start_button.isEnabled)
    assert page.command_line() == "sizewise run quickstart"
    with qtbot.waitSignal(navigation.launch_requested) as launched:
        qtbot.mouseClick(page.header.start_button, Qt.MouseButton.LeftButton)
    assert launched.args is not None
    assert launched.args[0].arguments == ("run", "quickstart")


def test_a_language_model_has_the_fields_of_its_tests(
    qtbot: QtBot, page: RunPage, tmp_path: Path, navigation: Navigation
) -> None:
    folder = decoders.contiguous(tmp_path / "tiny")
    page.open_model(folder)
    checked(qtbot, page)
    form, document = page.form, page.presenter.document
    tests = form.find_part(("load", "tests"))
    sections = [form.sections[name] for name in ("load", "workload", "target")]
    groups = [section.group() for section in sections if isinstance(section, NestedGroup)]
    shown = {key for group in groups for key, part in group.parts.items() if not is_hidden(part)}
    assert {"tests", "text", "text_tokens", "max_duration"} <= shown
    assert not {"scenarios", "rates", "tensors", "labels", "output", "precision", "batch", "providers"} & shown
    document.set_text(document.text.replace("[pp512, tg128]", "[pp16, tg8, tg0]"))
    qtbot.waitUntil(lambda: bool(page.presenter.state().issues))
    assert page.presenter.state().issues[0].cause == "the test 'tg0' has no tokens"
    assert [row.line.text() for row in tests.editor.rows] == ["pp16", "tg8", "tg0"]
    fill_in(qtbot, tests.editor.rows[2].line, "pp8+tg8")
    qtbot.waitUntil(lambda: page.presenter.state().is_checked and not page.presenter.state().blocked_reason)
    assert "tests: [pp16, tg8, pp8+tg8]" in document.text
    page.header.start_button.setFocus()
    with qtbot.waitSignal(navigation.launch_requested):
        qtbot.keyClick(page.header.start_button, Qt.Key.Key_Space)


def test_the_form_and_the_yaml_keep_step(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
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
    assert page.source.yaml_edit.toPlainText() == RIGHT
    assert not page.has_unsaved_changes


def test_a_broken_yaml_names_its_line_and_the_form_waits(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
    page.source.yaml_edit.setPlainText(RIGHT + "x: [\n")
    problem = page.error_strip.text().splitlines()[0]
    assert problem.startswith("Line ")
    assert len([one for one in page.findChildren(QLabel) if problem in one.text()]) == 1, "it is said twice"
    assert not page.form.isEnabled()
    assert not page.header.start_button.isEnabled()
    page.source.yaml_edit.setPlainText(RIGHT)
    assert page.form.isEnabled()
    qtbot.waitUntil(page.header.start_button.isEnabled)


def test_a_file_of_broken_yaml_has_one_error_at_the_line_that_was_not_closed(
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


def test_an_error_is_reported_at_its_field_and_the_strip_leads_there(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
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


def test_a_typo_is_mended_by_the_strips_button(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    mine.write_text(RIGHT.replace("  method:", "  mehtod:"))
    page.open_profile(mine)
    checked(qtbot, page)
    assert "Did you mean 'method'?" in page.error_strip.text()
    page.error_strip.action_triggered.emit()
    qtbot.waitUntil(page.header.start_button.isEnabled)
    assert page.presenter.document.tree == read_document(RIGHT.encode(), "x").value


def test_a_model_becomes_a_local_run(qtbot: QtBot, page: RunPage, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"x")
    page.open_model(model)
    checked(qtbot, page)
    assert page.form.view == "local"
    assert page.presenter.document.tree["target"]["model"] == str(model)
    assert page.presenter.state().issues == ()


def test_the_undo_of_a_recognized_url_is_offered_until_the_next_edit(page: RunPage) -> None:
    page.create_endpoint_profile()
    page.presenter.apply_edit(("target", "url"), "http://127.0.0.1:1/v1/chat/completions")
    assert page.adopt_url()
    page.notice_strip.action_triggered.emit()
    assert page.presenter.state().protocol == "http"
    page.presenter.apply_edit(("target", "url"), "http://127.0.0.1:2/v1/chat/completions")
    assert page.adopt_url()
    assert not page.notice_strip.isHidden()
    page.presenter.apply_edit(("name",), "renamed")
    assert page.notice_strip.isHidden(), "its button would undo the name instead"


def test_views_put_their_parts_in_front_and_offer_to_turn_the_profile(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
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


def test_what_a_crash_left_is_offered_and_opened(qtbot: QtBot, navigation: Navigation, look: ThemeController) -> None:
    drafts.save_draft(drafts.Draft(RIGHT, None, "/tmp"))
    page = RunPage(navigation, look)
    qtbot.addWidget(page)
    page.enter()
    assert "A profile with unsaved changes was recovered" in page.recovery_strip.text()
    page.recovery_strip.action_triggered.emit()
    assert page.presenter.document.text == RIGHT
    assert page.has_unsaved_changes
    assert page.recovery_strip.text() == ""


def test_another_profile_opened_over_unsaved_edits_loses_none(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
    page.presenter.document.set_dotted_value("load.seed", 99)
    edited = page.presenter.document.text
    page.open_profile(bundled_profiles()["chat"])
    assert "unsaved changes" in page.recovery_strip.text()
    page.recovery_strip.action_triggered.emit()
    assert (page.presenter.document.text, page.presenter.document.path) == (edited, mine)


def test_a_command_that_is_copied_can_be_run(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
    page.presenter.document.set_dotted_value("load.seed", 99)
    page.copy_command()
    line = QGuiApplication.clipboard().text()
    assert line == page.command_line()
    assert load_profile(Path(line.split()[-1])).load.seed == 99


def test_a_ci_job_is_written_and_nothing_written_over(
    qtbot: QtBot, page: RunPage, navigation: Navigation, mine: Path, tmp_path: Path
) -> None:
    page.open_profile(mine)
    repository = tmp_path / "repository"
    repository.mkdir()
    page.export_ci_job("github", repository)
    workflow = (repository / ".github/workflows/benchmark.yml").read_text()
    assert "sizewise run mine.yaml --out results" in workflow
    assert load_profile(repository / "mine.yaml").name == "mine"
    (repository / "mine.yaml").write_text("mine, changed")
    with qtbot.waitSignal(navigation.notice_emitted) as reported:
        page.export_ci_job("github", repository)
    assert reported.args is not None
    assert reported.args[0].severity == "error"
    assert (repository / "mine.yaml").read_text() == "mine, changed"


def test_recent_files_and_bundled_ones_are_offered(qtbot: QtBot, page: RunPage, mine: Path) -> None:
    page.open_profile(mine)
    menu = page.header.chooser.profile_menu
    menu.aboutToShow.emit()
    assert any(action.text().startswith("mine.yaml") for action in menu.actions())
    bundled = next(action.menu() for action in menu.actions() if "Bundled" in action.text())
    assert isinstance(bundled, QMenu)
    chat = next(action for action in bundled.actions() if action.text().startswith("chat "))
    chat.trigger()
    assert page.presenter.document.path == bundled_profiles()["chat"]


@pytest.mark.parametrize("name", ["chat", "local-model"])
def test_everything_that_can_be_used_has_a_name(qtbot: QtBot, page: RunPage, name: str) -> None:
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


def test_nothing_is_wider_than_the_page_at_twice_the_letters(
    qtbot: QtBot, page: RunPage, look: ThemeController
) -> None:
    look.scale_text(2.0)
    page.open_profile(bundled_profiles()["local-model"])
    page.resize(1180, 760)
    area = page.form.area
    inside = area.widget()
    assert inside is not None
    try:
        qtbot.waitUntil(lambda: area.viewport().width() >= inside.minimumSizeHint().width())
    finally:
        look.scale_text(1.0)


def test_errors_of_the_last_profile_are_gone_while_the_next_one_is_checked(
    qtbot: QtBot, page: RunPage, mine: Path
) -> None:
    mine.write_text(RIGHT.replace("  method:", "  mehtod:"))
    page.open_profile(mine)
    checked(qtbot, page)
    assert page.error_strip.text()
    mine.write_text(RIGHT)
    page.open_profile(mine)
    assert not page.error_strip.text()
    assert page.source.yaml_edit.extraSelections() == []
