from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from app.gui.run.model_editor import ModelEditor
from app.inference.probe import DIGITS_MODEL
from tests.fakes import decoders
from tests.fakes.edited_document import EditedDocument
from tests.fakes.gguf_decoders import write_plain
from tests.fakes.graphs import attention

_BUTTON = Qt.MouseButton.LeftButton


class EditedModel:
    def __init__(self, qtbot: QtBot, path: Path | None = None, **target: Any) -> None:
        self.document = EditedDocument({"target": target} if target else {}, path)
        self.editor = ModelEditor()
        qtbot.addWidget(self.editor)
        self.editor.edited.connect(self._take)
        self.editor.show_document(self.document)
        self.editor.show()
        inspector = self.editor.inspector
        qtbot.waitUntil(
            lambda: not inspector.state.is_busy and inspector.state.working_providers is not None, timeout=30_000
        )

    def _take(self, path: str, value: object) -> None:
        self.document.set_value(path, value)
        self.editor.show_document(self.document)


def tree_texts(editor: ModelEditor) -> list[str]:
    model = editor.tree.model()
    return [str(model.index(row, 0).data()) for row in range(model.rowCount())]


def test_bundled_model_is_inspected_and_its_variants_are_selected(qtbot: QtBot) -> None:
    edited = EditedModel(qtbot, model="digits", providers=["cpu", "cuda"])
    editor, target = edited.editor, edited.document.tree["target"]
    assert "Parameters" in tree_texts(editor)
    assert editor.drop_zone.heading_label.text() == "digits.onnx"
    assert editor.providers.boxes["cuda"].isChecked()
    assert (
        "NVIDIA" in editor.providers.unavailable_reasons()["cuda"]
        or "build" in editor.providers.unavailable_reasons()["cuda"]
    )
    assert "cpu" not in editor.providers.unavailable_reasons()
    qtbot.mouseClick(editor.precision.boxes["fp16"], _BUTTON, pos=QPoint(8, 8))
    qtbot.mouseClick(editor.batch.boxes["16"], _BUTTON, pos=QPoint(8, 8))
    assert (target["precision"], target["batch"]) == (["as-is", "fp16"], [1, 16])
    assert [name for name, _ in editor.memory.rows] == [
        "as-is, batch 1", "as-is, batch 16", "fp16, batch 1", "fp16, batch 16"
    ]  # fmt: skip
    assert all(text.endswith("fits") for _, text in editor.memory.rows)


def test_last_checked_box_cannot_be_unchecked(qtbot: QtBot) -> None:
    edited = EditedModel(qtbot, model="digits")
    box = edited.editor.threads.boxes["1"]
    qtbot.mouseClick(box, _BUTTON, pos=QPoint(8, 8))
    assert box.isChecked()
    assert "threads" not in edited.document.tree["target"]


def test_invalid_model_is_reported_in_the_strip(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    editor = EditedModel(qtbot, tmp_path / "p.yaml", model="bad.onnx").editor
    assert editor.strip.text().startswith("bad.onnx is not a valid ONNX model")
    assert not editor.tree.isVisible()
    assert editor.memory.rows == ()


def test_dynamic_axis_without_length_is_reported_until_a_length_is_set(qtbot: QtBot, tmp_path: Path) -> None:
    attention(tmp_path / "m.onnx")
    edited = EditedModel(qtbot, tmp_path / "p.yaml", model="m.onnx")
    assert "These dynamic axes have no length: seq." in edited.editor.strip.text()
    edited.editor.axes.fields["seq"].setValue(16)
    assert edited.document.value("target.runtime.axes") == {"seq": 16}
    qtbot.waitUntil(lambda: not edited.editor.inspector.state.is_busy, timeout=30_000)
    assert edited.editor.strip.text() == ""
    assert edited.editor.memory.rows


def make_drop_data(path: Path) -> QMimeData:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    return data


def test_dropped_model_is_announced_and_set_and_other_files_are_rejected(qtbot: QtBot, tmp_path: Path) -> None:
    edited = EditedModel(qtbot, tmp_path / "p.yaml")
    zone = edited.editor.drop_zone
    assert zone.heading_label.text() == "Drop a model here"
    model = tmp_path / "mine.onnx"
    model.write_bytes(DIGITS_MODEL.read_bytes())
    action, keys = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    data, profile_data = make_drop_data(model), make_drop_data(tmp_path / "p.yaml")
    rejected = QDragEnterEvent(QPoint(5, 5), action, profile_data, _BUTTON, keys)
    zone.dragEnterEvent(rejected)
    assert not rejected.isAccepted()
    zone.dragEnterEvent(QDragEnterEvent(QPoint(5, 5), action, data, _BUTTON, keys))
    assert zone.heading_label.text() == "Release to use mine.onnx"
    zone.dropEvent(QDropEvent(QPointF(5, 5), action, data, _BUTTON, keys))
    assert edited.document.value("target.model") == "mine.onnx"
    qtbot.waitUntil(lambda: edited.editor.inspector.state.inspection is not None, timeout=30_000)
    zone.bundled_models_box.setCurrentIndex(1)
    zone.bundled_models_box.activated.emit(1)
    assert edited.document.value("target.model") == "digits"
    qtbot.waitUntil(lambda: not edited.editor.inspector.state.is_busy, timeout=30_000)


@pytest.mark.parametrize("target", [{"protocol": "http", "url": "http://x"}])
def test_model_editor_is_hidden_for_an_endpoint(qtbot: QtBot, target: dict[str, str]) -> None:
    editor = ModelEditor()
    qtbot.addWidget(editor)
    editor.show_document(EditedDocument({"target": target}))
    editor.show()
    assert not editor.isVisible()
    assert not editor.inspector.state.is_busy


def test_folder_of_a_language_model_is_inspected(qtbot: QtBot, tmp_path: Path) -> None:
    folder = decoders.contiguous(tmp_path / "tiny")
    edited = EditedModel(qtbot, model=str(folder))
    editor = edited.editor
    assert {"Architecture", "Context", "KV heads"} <= set(tree_texts(editor))
    assert editor.strip.isHidden()
    assert not editor.precision.isEnabled(), "the precision is that of the model"
    editor.set_model(folder / "genai_config.json")
    assert edited.document.tree["target"]["model"] == str(folder), "a file dialog chooses files"
    editor.set_model(DIGITS_MODEL)
    qtbot.waitUntil(lambda: "Parameters" in tree_texts(editor), timeout=30_000)
    assert editor.precision.isEnabled()


def test_gguf_model_has_its_properties_and_precisions(qtbot: QtBot, tmp_path: Path) -> None:
    model = write_plain(tmp_path / "tiny.gguf")
    edited = EditedModel(qtbot, model=str(model))
    editor = edited.editor
    assert {"Architecture", "Context", "Parameters", "Weights"} <= set(tree_texts(editor))
    assert editor.strip.isHidden()
    assert list(editor.precision.boxes) == ["as-is", "int8", "int4"]
    qtbot.mouseClick(editor.precision.boxes["int4"], _BUTTON, pos=QPoint(8, 8))
    assert edited.document.value("target.precision") == ["as-is", "int4"]
    assert not editor.memory.isVisible(), "memory is estimated for ONNX graphs only"
    assert "load.scenarios" in editor.find_unused_paths(edited.document)
    assert "load.tests" not in editor.find_unused_paths(edited.document)


@pytest.mark.parametrize("model", ["a" * 3000, "a\0b"])
def test_impossible_model_path_is_not_inspected(qtbot: QtBot, model: str) -> None:
    editor = ModelEditor()
    qtbot.addWidget(editor)
    edited = EditedDocument({"target": {"protocol": "local", "model": model}})
    editor.show_document(edited)
    assert editor.find_unused_paths(edited) == frozenset()
    assert not editor.inspector.state.is_busy


def test_selected_folder_must_contain_a_language_model(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = decoders.contiguous(tmp_path / "tiny")
    edited = EditedModel(qtbot, model="digits")
    selected_folders = [str(tmp_path), "", str(folder)]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: selected_folders.pop(0))
    for _ in range(2):
        qtbot.mouseClick(edited.editor.drop_zone.folder_button, _BUTTON)
        assert edited.document.value("target.model") == "digits"
        assert "it has no genai_config.json" in edited.editor.strip.text()
    qtbot.mouseClick(edited.editor.drop_zone.folder_button, _BUTTON)
    assert edited.document.value("target.model") == str(folder)
    assert edited.document.value("load.tests") == ["pp512", "tg128"]
    qtbot.waitUntil(lambda: "Architecture" in tree_texts(edited.editor), timeout=30_000)
