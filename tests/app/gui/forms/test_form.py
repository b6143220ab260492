from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.forms.editor import Edits
from app.gui.forms.form import Problem, ProfileForm, View
from app.gui.forms.group import NestedGroup, create_editor
from app.gui.forms.records import RecordsEditor
from app.gui.forms.row import FieldRow
from app.gui.theme import ThemeController
from app.profiles.bundled import bundled_profiles
from app.profiles.editing import REMOVED, get_value, set_value
from app.profiles.fields import FieldSpec, iter_fields, profile_fields
from app.profiles.profile import PROFILES
from tests.fakes.forms import JoinedForm

_UNIT_PROFILES = {"agents", "local-model", "quickstart", "retrieval"}

TEXT = """\
sizewise: 1
name: mine   # mine
target: {protocol: http, url: http://127.0.0.1:1/x}
workload: {method: GET}
load:
  stages:
    - {name: steady, rate: 10/s, duration: 5s}   # the one
slo: [latency_ms.p95 < 50]
"""


@pytest.fixture
def joined(qtbot: QtBot, theme: ThemeController) -> Iterator[JoinedForm]:
    joined = JoinedForm(TEXT)
    joined.form.resize(700, 600)
    joined.form.show()
    yield joined
    shiboken6.delete(joined.form)  # at once, as hundreds of widgets that wait to be deleted slow down the next test


def build_full_tree(spec: FieldSpec) -> dict[str, Any]:
    """Return a tree with all optional parts, so that the form has an editor for each field."""
    tree: dict[str, Any] = {}
    for field in spec.fields:
        if field.kind == "group":
            tree[field.key] = build_full_tree(field)
        elif field.kind == "records" and field.item is not None:
            tree[field.key] = [build_full_tree(field.item)]
    return tree


def test_editor_of_every_field_shows_removed_and_default_values(qtbot: QtBot, theme: ThemeController) -> None:
    edits, checked_fields = Edits(), set()
    for protocol in PROFILES:
        for path, field in iter_fields(profile_fields(protocol)):
            field_key = (path, field.kind, field.help)
            if field_key in checked_fields or field.kind in ("group", "records") or path[-1] == "*":
                continue
            checked_fields.add(field_key)
            editor = create_editor(field, path, edits)
            editor.show_value(REMOVED)
            editor.show_value(field.default)
            assert editor.focus_target is not editor, path
    assert len(checked_fields) > 200


@pytest.mark.parametrize("protocol", ["local", "http", "oip"])
def test_every_field_of_a_profile_has_a_named_editor_with_its_help(
    qtbot: QtBot, theme: ThemeController, protocol: str
) -> None:
    form = ProfileForm()
    spec = profile_fields(protocol)
    form.show_tree(build_full_tree(spec), protocol)
    for path, field in iter_fields(spec):
        if path[-1] == "*":
            continue
        part = form.find_part(tuple(0 if key == "*" else key for key in path))
        assert isinstance(part, FieldRow | NestedGroup | RecordsEditor), path
        assert part.spec.key == field.key, path
        assert field.help in part.toolTip()
        if isinstance(part, FieldRow):
            target = part.editor.focus_target
            assert target is not part.editor
            assert target.accessibleName()
            assert part.name_label.buddy() is target
    shiboken6.delete(form)


@pytest.mark.parametrize(
    "name",
    [name if name in _UNIT_PROFILES else pytest.param(name, marks=pytest.mark.soak) for name in bundled_profiles()],
)
def test_bundled_profile_is_not_changed_by_showing_it_in_the_form(
    qtbot: QtBot, theme: ThemeController, name: str
) -> None:
    text = bundled_profiles()[name].read_text()
    joined = JoinedForm(text)
    edits: list[object] = []
    joined.form.edits.edited.connect(edits.append)
    for view in ("local", "endpoint", "max_rate"):
        joined.form.set_view(view)
    assert (edits, joined.document.text) == ([], text)
    shiboken6.delete(joined.form)


CHANGES: list[tuple[tuple[str | int, ...], str, Any]] = [
    (("name",), "other", "other"),
    (("target", "url"), "http://127.0.0.1:2/", "http://127.0.0.1:2/"),
    (("load", "stages", 0, "rate"), "20/s", "20/s"),
    (("load", "seed"), "9", 9),
    (("limits", "usd"), "2.5", 2.5),
    (("load", "warmup"), "1s", "1s"),
    (("target", "max_connections"), "7", 7),
]


@pytest.mark.parametrize(("path", "typed", "value"), CHANGES)
def test_form_value_is_typed_undone_and_redone(
    qtbot: QtBot, joined: JoinedForm, path: tuple[str | int, ...], typed: str, value: Any
) -> None:
    line = joined.row(*path).editor.line
    line.selectAll()
    qtbot.keyClicks(line, typed)
    assert get_value(joined.document.tree, path) == value
    assert "# mine" in joined.document.text
    assert joined.document.undo_stack.count() == 1
    joined.document.undo_stack.undo()
    assert joined.document.text == TEXT
    assert line.text() == str(get_value(joined.document.tree, path) if path[-1] in ("name", "url", "rate") else "")
    joined.document.undo_stack.redo()
    assert line.text() == typed


def test_choice_check_box_and_yaml_editors_store_values_and_undo_edits(qtbot: QtBot, joined: JoinedForm) -> None:
    method = joined.row("workload", "method").editor.box
    method.setCurrentText("POST")
    method.activated.emit(method.currentIndex())
    permitted = joined.row("target", "permitted").editor.check_box
    permitted.click()
    body = joined.row("workload", "body").editor.text
    qtbot.keyClicks(body, "{a: [1, x]}")
    assert joined.document.tree["workload"] == {"method": "POST", "body": {"a": [1, "x"]}}
    assert joined.document.tree["target"]["permitted"] is True
    while joined.document.undo_stack.canUndo():
        joined.document.undo_stack.undo()
    assert joined.document.text == TEXT
    assert (method.currentText(), permitted.isChecked(), body.toPlainText()) == ("GET", False, "")


def test_list_mapping_and_number_list_editors_store_values(qtbot: QtBot, joined: JoinedForm) -> None:
    slo = joined.row("slo").editor
    qtbot.mouseClick(slo.add, Qt.MouseButton.LeftButton)
    qtbot.keyClicks(slo.rows[1].line, "error_rate < 1%")
    assert joined.document.tree["slo"] == ["latency_ms.p95 < 50", "error_rate < 1%"]
    qtbot.mouseClick(slo.rows[0].remove, Qt.MouseButton.LeftButton)
    assert joined.document.tree["slo"] == ["error_rate < 1%"]
    headers = joined.row("target", "headers").editor
    qtbot.mouseClick(headers.add, Qt.MouseButton.LeftButton)
    qtbot.keyClicks(headers.rows[0].key, "X-Id")
    qtbot.keyClicks(headers.rows[0].line, "7")
    assert joined.document.tree["target"]["headers"] == {"X-Id": "7"}
    joined.document.set_value(("load", "stages", 0), {"name": "a", "steps": ["1/s"], "duration": "5s"})
    steps = joined.row("load", "stages", 0, "steps").editor.line
    qtbot.keyClicks(steps, ", 4/s")
    assert joined.document.tree["load"]["stages"][0]["steps"] == ["1/s", "4/s"]


def test_check_boxes_of_choices_preserve_the_order_of_values(qtbot: QtBot, theme: ThemeController) -> None:
    joined = JoinedForm("sizewise: 1\nname: a\ntarget: {model: digits, providers: [cuda, cpu]}\n")
    qtbot.addWidget(joined.form)
    boxes = joined.row("target", "providers").editor.check_boxes
    boxes["tensorrt"].click()
    boxes["cuda"].click()
    assert joined.document.tree["target"]["providers"] == ["cpu", "tensorrt"]


def test_optional_groups_are_added_and_removed(qtbot: QtBot, joined: JoinedForm) -> None:
    traffic = joined.form.sections["traffic"]
    assert isinstance(traffic, NestedGroup)
    qtbot.mouseClick(traffic.add_button, Qt.MouseButton.LeftButton)
    assert joined.document.tree["traffic"] == {"peak": "900/s"}
    assert joined.row("traffic", "peak").editor.line.text() == "900/s"
    qtbot.mouseClick(traffic.remove_button, Qt.MouseButton.LeftButton)
    assert "traffic" not in joined.document.tree
    joined.document.undo_stack.undo()
    joined.document.undo_stack.undo()
    assert joined.document.text == TEXT


def test_stages_are_added_copied_moved_and_removed(qtbot: QtBot, joined: JoinedForm) -> None:
    stages = joined.row("load", "stages")
    qtbot.wait(1)  # until the unfolded step has its place
    qtbot.mouseClick(stages.add_button, Qt.MouseButton.LeftButton)
    names = [stage["name"] for stage in joined.document.tree["load"]["stages"]]
    assert names == ["steady", "steady-2"]
    assert "# the one" in joined.document.text
    qtbot.mouseClick(stages.records[1].up, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(stages.records[0].copy, Qt.MouseButton.LeftButton)
    names = [stage["name"] for stage in joined.document.tree["load"]["stages"]]
    assert names == ["steady-2", "steady-2-2", "steady"]
    qtbot.mouseClick(stages.records[0].remove_button, Qt.MouseButton.LeftButton)
    assert len(stages.records) == len(joined.document.tree["load"]["stages"]) == 2


def test_selecting_another_load_pattern_replaces_the_keys_of_the_stage(qtbot: QtBot, joined: JoinedForm) -> None:
    group = joined.form.find_part(("load", "stages", 0)).group()
    box = group.form_choices["load pattern"].box
    box.setCurrentText("Concurrency")
    box.activated.emit(box.currentIndex())
    assert joined.document.tree["load"]["stages"] == [{"name": "steady", "concurrency": 8, "duration": "5s"}]
    assert not group.parts["rate"].isVisibleTo(group)
    assert group.parts["think_time"].isVisibleTo(group)


def test_non_default_value_is_bold_and_reset_by_its_button(
    qtbot: QtBot, joined: JoinedForm, theme: ThemeController
) -> None:
    row = joined.row("load", "seed")
    assert (row.name_label.font().bold(), row.editor.line.placeholderText()) == (False, "7")
    qtbot.keyClicks(row.editor.line, "8")
    assert row.name_label.font().bold()
    for choice in ("dark", "light"):
        theme.set_choice(choice)
        assert row.name_label.font().bold(), "the font is bold after a theme change"
    qtbot.mouseClick(row.reset_button, Qt.MouseButton.LeftButton)
    assert get_value(joined.document.tree, ("load", "seed")) is REMOVED
    assert (row.name_label.font().bold(), row.editor.line.text()) == (False, "")


def test_form_problem_is_shown_at_its_field_or_at_a_folded_heading(joined: JoinedForm) -> None:
    row = joined.row("target", "url")
    joined.form.sections["plan"].set_open(False)
    joined.form.show_problems((Problem(("target", "url"), "no"), Problem(("plan", "zones"), "too many")))
    assert (row.problem_label.text(), row.problem_label.isHidden()) == ("no", False)
    assert joined.form.sections["plan"].problem_label.text() == "too many"
    joined.form.show_problems(())
    assert row.problem_label.isHidden()
    assert joined.form.sections["plan"].problem_label.isHidden()


def test_form_search_finds_a_field_by_name_or_help(qtbot: QtBot, joined: JoinedForm) -> None:
    qtbot.keyClicks(joined.form.search, "burst")
    with qtbot.waitSignal(joined.form.result_selected) as search_result:
        qtbot.keyClick(joined.form.search, Qt.Key.Key_Return)
    assert search_result.args is not None
    assert search_result.args[0][-1] == "arrivals"
    qtbot.keyClicks(joined.form.search, "impersonate the target")
    with qtbot.waitSignal(joined.form.result_selected) as search_result:
        qtbot.keyClick(joined.form.search, Qt.Key.Key_Return)
    assert search_result.args == [("target", "tls", "verify")]
    assert joined.row("target", "tls", "verify").editor.check_box.hasFocus()


def test_invalid_values_of_a_profile_are_not_edited_by_showing_them(qtbot: QtBot, theme: ThemeController) -> None:
    tree = set_value({}, ("target",), {"protocol": "http", "url": 7, "headers": [1], "tls": "x", "balance": 3})
    tree = {**tree, "load": {"stages": {"a": 1}, "seed": [1]}, "slo": 5, "name": None, "workload": 3}
    form = ProfileForm()
    qtbot.addWidget(form)
    edits: list[object] = []
    form.edits.edited.connect(edits.append)
    form.show_tree(tree, "http")
    form.show_tree({}, "http")
    assert edits == []


@pytest.mark.parametrize("view", ["endpoint", "max_rate"])
def test_tab_key_moves_down_the_form(qtbot: QtBot, joined: JoinedForm, view: View) -> None:
    joined.form.set_view(view)
    for path in (("target", "tls", "verify"), ("limits", "usd"), ("load", "seed"), ("load", "stages", 0, "lead_in")):
        joined.form.reveal(path)
    joined.form.resize(700, 6000)
    qtbot.wait(1)
    order: list[QWidget] = []
    widget = joined.form.search.nextInFocusChain()
    while widget is not None and widget is not joined.form.search:
        if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isEnabled():
            order.append(widget)
        widget = widget.nextInFocusChain()
    # the reset button is on the first line of its field and follows the last line in tab order
    order = [
        stop
        for stop in order
        if not (stop.accessibleName().startswith("Reset ") and stop.accessibleName().endswith(" to default"))
    ]
    area = joined.form.area.widget()
    assert area is not None
    inside = [stop for stop in order if area.isAncestorOf(stop)]
    positions = [(stop.mapTo(joined.form, stop.rect().center()).y(), stop.accessibleName()) for stop in inside]
    assert len(positions) > 40
    assert [
        (position, following)
        for position, following in itertools.pairwise(positions)
        if following[0] < position[0] - 12
    ] == []


def test_form_help_is_that_of_the_focused_field(qtbot: QtBot, joined: JoinedForm) -> None:
    joined.form.reveal(("load", "stages", 0, "rate"))
    assert joined.form.help.text().startswith("Rate: Requests per second, such as 50/s")
    assert "/s, /min, /h" in joined.form.help.text()
