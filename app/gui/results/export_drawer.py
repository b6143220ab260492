"""Export drawer: format, file, size, and the names that the report contains, without a dialog.

The table of names lists the hosts, models and prompts in the report, with the replacement of each
redacted name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PySide6.QtCore import QEvent, QSignalBlocker, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QFrame, QHBoxLayout, QLineEdit, QWidget

from app.gui.background import Latest, submit
from app.gui.flow import FlowLayout
from app.gui.formatting import format_size
from app.gui.results.exporting import (
    Exported,
    ExportOptions,
    default_path,
    export_formats,
    find_prompt_keys,
    find_redactions,
    has_profile,
    has_sidecars,
    render_report,
    write_report,
)
from app.gui.results.state import ShownRun
from app.gui.results.tabs.tab import fit_height
from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.widgets import button, label, vbox

if TYPE_CHECKING:
    from app.reporting.redaction import RedactedKind, Redaction


_MAX_ROWS_SHOWN = 5
_MAX_COLUMN_CHARACTERS = 60


class ExportContents(QWidget):
    """Check boxes for the contents of the exported file. A checked item is included. Prompts are
    excluded by default."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hosts = QCheckBox("Hosts an&d addresses")
        self.models = QCheckBox("Mode&l names")
        self.prompts = QCheckBox("P&rompts")
        self.no_prompts = label("", "muted")
        self.sidecars = QCheckBox("Ra&w data files")
        headers = {"written": "Name", "Occurrences": "Occurrences", "shown": "Shown as"}
        self.names = FrameTable(
            FrameModel(headers=headers), "Names in the file", max_column_characters=_MAX_COLUMN_CHARACTERS
        )
        self.names.setToolTip("Only whole names are redacted, also in titles and notes.")
        self._names: tuple[Redaction, ...] = ()
        self._has_prompts = True
        self._build()
        self.reset()
        for checkbox in (self.hosts, self.models, self.prompts, self.sidecars):
            checkbox.setAccessibleName(checkbox.text().replace("&", ""))
            checkbox.toggled.connect(self._toggled)

    def reset(self) -> None:
        """Reset to the defaults for another run, whose names have not been collected yet."""
        for checkbox, is_included in (
            (self.hosts, True),
            (self.models, True),
            (self.prompts, False),
            (self.sidecars, True),
        ):
            with QSignalBlocker(checkbox):
                checkbox.setChecked(is_included)
        self.show_prompts(None)
        self.show_names(())

    def show_prompts(self, unavailable_reason: str | None) -> None:
        """Enable the check box for prompts, or disable it and show `unavailable_reason`, the reason
        why the file cannot contain prompts."""
        self._has_prompts = unavailable_reason is None
        self.no_prompts.setText(unavailable_reason or "")
        self.prompts.setVisible(self._has_prompts)
        self.no_prompts.setVisible(not self._has_prompts)
        self.show_names(self._names)

    def redacted_kinds(self) -> tuple[RedactedKind, ...]:
        kinds: list[RedactedKind] = [] if self.hosts.isChecked() else ["hosts"]
        if not self.models.isChecked():
            kinds.append("models")
        if self._has_prompts and not self.prompts.isChecked():
            kinds.append("prompts")
        return tuple(kinds)

    def show_names(self, redactions: tuple[Redaction, ...]) -> None:
        self._names = redactions
        redactions = tuple(name for name in redactions if self._has_prompts or name.kind != "prompts")
        hidden, as_written = self.redacted_kinds(), "unchanged"
        rows = [
            (name.original, name.occurrences, name.replacement if name.kind in hidden else as_written)
            for name in redactions
        ]
        self.names.set_frame(pd.DataFrame(rows, columns=["written", "Occurrences", "shown"]))
        set_table_description(self.names, "Names included in the file")
        self.names.setVisible(bool(redactions))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _toggled(self) -> None:
        self.show_names(self._names)
        self.changed.emit()

    def _fit(self) -> None:
        fit_height(self.names, _MAX_ROWS_SHOWN)

    def _build(self) -> None:
        choices = FlowLayout(gap=16)
        choices.addWidget(label("Include:", "muted"))
        for widget in (self.hosts, self.models, self.prompts, self.no_prompts, self.sidecars):
            choices.addWidget(widget)
        vbox(choices, self.names, within=self)


class ExportDrawer(QFrame):
    """Drawer that exports the displayed run to a file. `failed` is emitted with the error if the
    export fails."""

    failed = Signal(object)
    saved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Export")
        self._shown: ShownRun | None = None
        self._written: Path | None = None
        self._default_path: Path | None = None
        self._prompt_keys: tuple[str, ...] = ()
        self._forms = export_formats()
        self.format_box, self.path_field = QComboBox(), QLineEdit()
        self.format_box.setAccessibleName("Format")
        self.path_field.setAccessibleName("File")
        for form in self._forms:
            self.format_box.addItem(
                form.name if form.unavailable_reason is None else f"{form.name} ({form.unavailable_reason})", form.key
            )
        self.contents = ExportContents()
        self.status = label("", "muted")
        self.save = button("&Save", self.save_now, primary=True)
        self.browse = button("C&hoose…", self._choose)
        self.open = button("&Open", self._open)
        self.show_folder = button("Show in &folder", self._show_folder)
        self.copy = button("Cop&y summary as Markdown", self._copy)
        self.close_button = button("Cl&ose", self.hide)
        self._build()
        self.format_box.currentIndexChanged.connect(self._choice_changed)
        self.contents.changed.connect(self._choice_changed)
        self._rendering: Latest[bytes] = Latest(self, self._rendered, self.failed.emit)
        self._naming: Latest[tuple[Redaction, ...]] = Latest(self, self.contents.show_names, self.failed.emit)
        self.hide()

    def open_for(self, shown: ShownRun) -> None:
        self.show()
        self.show_run(shown)
        self.format_box.setFocus()

    def show_run(self, shown: ShownRun) -> None:
        """Update the drawer to what an export would write now."""
        is_another_run = self._shown is None or self._shown.directory != shown.directory
        self._shown, self._written = shown, None
        if is_another_run:
            self._default_path = None
            self.contents.reset()
            self._prompt_keys = find_prompt_keys(shown)
        if self.isVisible():
            self._naming.request(lambda: find_redactions(shown))
            self._choice_changed()

    def options(self) -> ExportOptions:
        shown, form = self._shown, str(self.format_box.currentData())
        is_alone = shown is not None and has_sidecars(shown, form) and not self.contents.sidecars.isChecked()
        return ExportOptions(form, self.contents.redacted_kinds(), is_alone)

    def custom_path(self) -> Path | None:
        """Return the path that the user entered, or None for the default path."""
        path = Path(self.path_field.text()).expanduser()
        return None if self._shown is None or path == default_path(self._shown, self.options()) else path

    def save_now(self) -> None:
        shown, choice = self._shown, self.options()
        if shown is None or not self.save.isEnabled():
            return
        path = Path(self.path_field.text()).expanduser()
        self.save.setEnabled(False)
        submit(self, lambda: write_report(shown, choice, path), self._saved, self._failed)

    def _choice_changed(self) -> None:
        shown = self._shown
        if shown is None:
            return
        self.contents.show_prompts(self._why_no_prompts())
        self._written, choice = None, self.options()
        self._show_path(default_path(shown, choice))
        self.contents.sidecars.setVisible(has_sidecars(shown, choice.format))
        is_available = next(form for form in self._forms if form.key == choice.format).unavailable_reason is None
        self.save.setEnabled(False)
        self._show_written()
        self.status.setText("Preparing…" if is_available else "Not available")
        if is_available:
            self._rendering.request(lambda: render_report(shown, choice))

    def _why_no_prompts(self) -> str | None:
        if not self._prompt_keys:
            return "This profile contains no prompts."
        return None if has_profile(str(self.format_box.currentData())) else "This format does not include prompts."

    def _show_path(self, default: Path) -> None:
        """Show the default path. A path that the user entered is preserved, with the file extension
        of the new format."""
        path, previous = Path(self.path_field.text()), self._default_path
        self._default_path = default
        if previous is None or path == previous:
            self.path_field.setText(str(default))
        elif previous.suffix != default.suffix:
            self.path_field.setText(str(path.with_suffix(default.suffix)))

    def _rendered(self, content: bytes) -> None:
        self.status.setText(format_size(len(content)))
        self.save.setEnabled(True)

    def _failed(self, error: Exception) -> None:
        self.save.setEnabled(True)
        self.failed.emit(error)

    def _saved(self, exported: Exported) -> None:
        self._written = exported.path
        self.save.setEnabled(True)
        self.status.setText(f"{format_size(exported.size_bytes)} written")
        self._show_written()
        self.saved.emit(exported)

    def _show_written(self) -> None:
        for action_button in (self.open, self.show_folder):
            action_button.setEnabled(self._written is not None)

    def _choose(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save report as", self.path_field.text())
        if name:
            self.path_field.setText(name)

    def _open(self) -> None:
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written)))

    def _show_folder(self) -> None:
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written.parent)))

    def _copy(self) -> None:
        shown = self._shown
        if shown is not None:
            hidden = self.contents.redacted_kinds()
            # Markdown contains no prompts
            choice = ExportOptions("markdown", tuple(kind for kind in hidden if kind != "prompts"))
            submit(self, lambda: render_report(shown, choice), self._copied, self.failed.emit)

    def _copied(self, content: bytes) -> None:
        QGuiApplication.clipboard().setText(content.decode())
        self.status.setText("Summary copied to clipboard.")

    def _build(self) -> None:
        form_row, action_row = QHBoxLayout(), FlowLayout()
        form_row.addWidget(label("Export", "heading"))
        form_row.addWidget(self.format_box)
        form_row.addWidget(self.path_field, 1)
        form_row.addWidget(self.browse)
        actions = (self.save, self.open, self.show_folder, self.copy, self.close_button, self.status)
        height = max(action.sizeHint().height() for action in actions)
        for action in actions:
            action.setMinimumHeight(height)
            action_row.addWidget(action)
        vbox(form_row, self.contents, action_row, within=self, margins=(12, 8, 12, 8))
