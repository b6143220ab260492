"""Drop area for a model file, with a button that opens a file dialog."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout

from app.gui.dropped_files import is_model
from app.gui.formatting import shorten
from app.gui.widgets import button, label, vbox


class DropZone(QFrame):
    """Drop area for a model. While a file is dragged over the area, the area shows what dropping
    the file would do."""

    dropped = Signal(object)
    """Signal that is emitted with the path of a dropped file."""
    bundled_model_selected = Signal(str)
    file_requested = Signal()
    folder_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAcceptDrops(True)
        self.setAccessibleName("Model file")
        self.heading_label = label("", "heading", wrap=True)
        self.detail_label = label("", "muted", wrap=True)
        self.file_button = button("Choose f&ile…", self.file_requested.emit, primary=True)
        self.folder_button = button("Choose fol&der…", self.folder_requested.emit)
        self.bundled_models_box = QComboBox()
        self.bundled_models_box.setAccessibleName("Models bundled with Sizewise")
        self.bundled_models_box.activated.connect(self._select_bundled_model)
        row = QHBoxLayout(self)
        text_column = vbox(self.heading_label, self.detail_label)
        row.addLayout(text_column, 1)
        row.addWidget(self.file_button)
        row.addWidget(self.folder_button)
        row.addWidget(self.bundled_models_box)
        self._bundled_model_names: tuple[str, ...] = ()
        self._texts = ("", "")

    def show_model(self, path: Path | None, model_count: int) -> None:
        from app.profiles.bundled import bundled_models

        if not self._bundled_model_names:
            self._bundled_model_names = tuple(bundled_models())
            self.bundled_models_box.addItem("Bundled models")
            self.bundled_models_box.addItems(list(self._bundled_model_names))
        is_bundled = path is not None and bundled_models().get(path.stem) == path
        self.bundled_models_box.setCurrentIndex(
            1 + self._bundled_model_names.index(path.stem) if is_bundled and path is not None else 0
        )
        if path is None:
            self._texts = (
                "Drop a model here",
                "Use an .onnx or .gguf file, the folder of a language model for ONNX Runtime GenAI, or a bundled "
                "model. It is inspected before anything runs.",
            )
        else:
            more_text = f" and {model_count - 1} more" if model_count > 1 else ""
            self._texts = (
                shorten(path.name, 120) + more_text,
                "bundled with Sizewise" if is_bundled else shorten(str(path.parent), 200),
            )
        self._set_texts(*self._texts)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        path = _get_dropped_model(event)
        if path is None:
            event.ignore()
            return
        event.acceptProposedAction()
        self._set_texts(f"Release to use {shorten(path.name, 120)}", "This profile will use the model.")

    def dragLeaveEvent(self, _: QDragLeaveEvent) -> None:
        self._set_texts(*self._texts)

    def dropEvent(self, event: QDropEvent) -> None:
        path = _get_dropped_model(event)
        self._set_texts(*self._texts)
        if path is not None:
            event.acceptProposedAction()
            self.dropped.emit(path)

    def _set_texts(self, heading: str, detail: str) -> None:
        self.heading_label.setText(heading)
        self.detail_label.setText(detail)

    def _select_bundled_model(self, index: int) -> None:
        if index > 0:
            self.bundled_model_selected.emit(self._bundled_model_names[index - 1])


def _get_dropped_model(event: QDropEvent) -> Path | None:
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return paths[0] if len(paths) == 1 and is_model(paths[0]) else None
