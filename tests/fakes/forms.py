"""A form and its document, connected as on the Run page."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject

from app.gui.forms.form import ProfileForm
from app.gui.run.document import ProfileDocument
from app.gui.run.validation import display_protocol


class JoinedForm(QObject):
    def __init__(self, text: str) -> None:
        form = ProfileForm()
        super().__init__(form)
        self.form = form
        self.document = ProfileDocument(self)
        self.form.edits.edited.connect(self.document.set_value)
        self.document.changed.connect(self._show)
        self.document.open(text, None)

    def _show(self) -> None:
        self.form.show_tree(self.document.tree, display_protocol(self.document.tree))

    def row(self, *path: str | int) -> Any:
        return self.form.find_part(path)
