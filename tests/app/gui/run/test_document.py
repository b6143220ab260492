from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.run.document import ProfileDocument
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.editing import REMOVED

TEXT = "sizewise: 1\nname: a   # the name\nload: {seed: 7}\n"


class Clock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def document(owner: QWidget, clock: Clock) -> ProfileDocument:
    document = ProfileDocument(owner, clock=clock)
    document.open(TEXT, None)
    return document


def test_profile_edit_preserves_comments_and_names_the_undo_step(document: ProfileDocument) -> None:
    document.set_dotted_value("load.seed", 8)
    assert document.text == "sizewise: 1\nname: a   # the name\nload: {seed: 8}\n"
    assert document.undo_stack.undoText() == "Set load.seed"
    document.set_dotted_value("load.seed", None)
    assert document.value("load") == {}
    assert (document.value("load.seed"), document.value("nothing.at.all")) == (None, None)


def test_edits_of_the_same_profile_field_are_undone_together(document: ProfileDocument) -> None:
    for seed in (8, 89, 890):
        document.set_dotted_value("load.seed", seed)
    document.set_dotted_value("name", "b")
    assert document.undo_stack.count() == 2
    document.undo_stack.undo()
    assert document.value("load.seed") == 890
    document.undo_stack.undo()
    assert (document.text, document.is_saved) == (TEXT, True)
    document.undo_stack.redo()
    assert document.value("load.seed") == 890


def test_profile_edit_that_restores_the_saved_value_is_no_undo_step(document: ProfileDocument) -> None:
    document.set_dotted_value("load.seed", 8)
    document.set_dotted_value("load.seed", 7)
    assert document.undo_stack.count() == 0
    assert document.is_saved


def test_pause_while_typing_starts_another_undo_step(document: ProfileDocument, clock: Clock) -> None:
    for text, at_s in (("a: 1", 0.0), ("a: 12", 1.0), ("a: 123", 9.0)):
        clock.at_s = at_s
        document.set_text(text)
    assert document.undo_stack.count() == 2
    document.undo_stack.undo()
    assert document.tree == {"a": 12}


def test_profile_text_with_invalid_yaml_is_stored_and_the_tree_unchanged(document: ProfileDocument) -> None:
    document.set_text(TEXT + "x: [\n")
    assert document.error is not None
    assert document.error.line is not None
    assert document.value("load.seed") == 7
    document.set_dotted_value("load.seed", 9)  # the form shows an earlier tree and must not change the text
    assert document.text == TEXT + "x: [\n"
    document.set_text("- a list")
    assert document.error is not None
    assert document.error.hint == "Start with `sizewise: 1`."
    document.undo_stack.undo()
    document.undo_stack.undo()
    assert document.error is None


def test_lost_profile_comments_are_reported(qtbot: QtBot, document: ProfileDocument) -> None:
    document.open("# about it\nname: a\n", None)
    with qtbot.waitSignal(document.comments_lost):
        document.set_value(("name",), REMOVED)
    assert (document.tree, document.text) == ({}, "")


PATHS = [
    ("name",),
    ("load", "seed"),
    ("load", "stages"),
    ("slo",),
    ("target", "headers", "X-Id"),
    ("limits", "usd"),
    ("plan",),
]
VALUES: list[Any] = ["a", "1", 7, 2.5, True, ["latency_ms.p95 < 5"], {"a": {"b": [1]}}, [], {}, "x: y # z", REMOVED]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["chat", "fraud-scoring", "local-model"]),
    edits=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(VALUES)), max_size=8),
)
def test_undoing_all_profile_edits_restores_the_text_and_redo_repeats_the_edits(
    qapp: object, name: str, edits: list[tuple[Any, Any]]
) -> None:
    text = bundled_profiles()[name].read_text()
    document = ProfileDocument()
    document.open(text, None)
    earlier_texts = [text]
    for path, value in edits:
        document.set_value(path, value)
        assert document.tree == read_document(document.text.encode(), "x").value
        earlier_texts.append(document.text)
    edited_text = document.text
    while document.undo_stack.canUndo():
        document.undo_stack.undo()
        assert document.text in earlier_texts
    assert document.text == text
    while document.undo_stack.canRedo():
        document.undo_stack.redo()
    assert document.text == edited_text
