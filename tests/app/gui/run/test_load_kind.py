from __future__ import annotations

from typing import Any, get_args

import pytest
from pytestqt.qtbot import QtBot

from app.gui.run.load_kind import (
    LoadKind,
    LoadKindEditor,
    SweepView,
    find_load_kind,
    parse_loads,
    switch_load_kind,
    view_sweep,
)
from app.profiles.load import LoadSettings
from tests.fakes.edited_document import EditedDocument


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        ({"sweep": {"concurrency": [1, 2]}}, "clients"),
        ({"sweep": {"max_concurrency": 8}}, "clients"),
        ({"sweep": {"from": "1/s", "to": "9/s"}}, "rates"),
        ({"stages": [{"rate": "5/s"}], "warmup": "0s"}, "stages"),
        ({"search": {"start": "10/s"}}, "search"),
        ({"stages": [{"rate": "5/s"}], "search": {"start": "10/s"}}, None),
        ({"stages": [], "search": {}}, "search"),
        ({}, None),
    ],
)
def test_load_kind_is_none_if_several_are_combined(load: dict[str, Any], kind: LoadKind | None) -> None:
    assert find_load_kind(load) == kind


@pytest.mark.parametrize("kind", get_args(LoadKind))
def test_switched_load_kind_replaces_the_loads_and_is_valid(kind: LoadKind) -> None:
    load = switch_load_kind({"stages": [{"rate": "5/s"}], "sweep": {"from": "1/s"}, "seed": 8}, kind)
    assert (find_load_kind(load), load["seed"]) == (kind, 8)
    LoadSettings.model_validate(load)


def test_typed_loads_are_parsed_as_clients_or_rates() -> None:
    assert parse_loads("1, 2,x , ", "clients") == [1, 2, "x"]
    assert parse_loads("10, 20/s, 0.5", "rates") == ["10/s", "20/s", "0.5/s"]
    assert view_sweep({"concurrency": [1, 4]}) == SweepView(("1", "4"), "10s", is_editable=True)
    assert view_sweep({"from": "1/s", "to": "9/s"}) == SweepView(("1/s to 9/s",), "10s", is_editable=False)
    assert not view_sweep({"max_concurrency": 8}).is_editable


def test_load_kind_and_its_loads_are_edited_in_the_editor(qtbot: QtBot) -> None:
    editor = LoadKindEditor()
    qtbot.addWidget(editor)
    document = EditedDocument({"target": {"protocol": "http"}, "load": {"stages": [{"rate": "5/s"}]}})

    def apply_edit(path: str, value: object) -> None:
        document.set_value(path, value)
        editor.show_document(document)

    editor.edited.connect(apply_edit)
    editor.show_document(document)
    assert (editor.kind_box.currentData(), editor.loads_line.isHidden()) == ("stages", True)
    editor.kind_box.setCurrentIndex(editor.kind_box.findData("clients"))
    editor.kind_box.activated.emit(0)
    assert editor.loads_line.text() == "1, 2, 4, 8, 16, 32"
    for line, text in ((editor.loads_line, "1, 3"), (editor.duration_line, "5s")):
        line.selectAll()
        qtbot.keyClicks(line, text)
        line.editingFinished.emit()
    assert document.value("load") == {"sweep": {"concurrency": [1, 3], "step_duration": "5s"}}
