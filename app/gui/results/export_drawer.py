"""Drawer that exports a run: format, path and size of the file, and the names in the report.

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

from app.gui.background import LatestRunner, submit
from app.gui.flow import FlowLayout
from app.gui.formatting import format_size
from app.gui.results.exporting import (
    ExportedFile,
    ExportOptions,
    export_formats,
    find_prompt_keys,
    find_redactions,
    get_default_path,
    has_profile,
    has_sidecars,
    render_report,
    write_report,
)
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import fit_height
from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.theme import GAP_SECTION, TILE_MARGINS
from app.gui.widgets import button, label, vbox

if TYPE_CHECKING:
    from app.reporting.redaction import RedactedKind, Redaction


_MAX_VISIBLE_ROWS = 5
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
        self.no_prompts_label = label("", "muted")
        self.sidecars = QCheckBox("Ra&w data files")
        headers = {"written": "Name", "Occurrences": "Occurrences", "shown": "Exported as"}
        self.names_table = FrameTable(
            FrameModel(headers=headers), "Names in the file", max_column_characters=_MAX_COLUMN_CHARACTERS
        )
        self.names_table.setToolTip("Only whole names are redacted, including in titles and notes.")
        self._redactions: tuple[Redaction, ...] = ()
        self._has_prompts = True
        self._build()
        self.reset()
        for check_box in (self.hosts, self.models, self.prompts, self.sidecars):
            check_box.setAccessibleName(check_box.text().replace("&", ""))
            check_box.toggled.connect(self._on_toggled)

    def reset(self) -> None:
        """Reset the check boxes to their defaults before the names in another run have been
        collected."""
        for check_box, is_included in (
            (self.hosts, True),
            (self.models, True),
            (self.prompts, False),
            (self.sidecars, True),
        ):
            with QSignalBlocker(check_box):
                check_box.setChecked(is_included)
        self.set_prompts_unavailable_reason(None)
        self.show_redactions(())

    def set_prompts_unavailable_reason(self, unavailable_reason: str | None) -> None:
        """Enable the check box for prompts. If `unavailable_reason` is set, disable the check box
        and show why the file cannot contain prompts."""
        self._has_prompts = unavailable_reason is None
        self.no_prompts_label.setText(unavailable_reason or "")
        self.prompts.setVisible(self._has_prompts)
        self.no_prompts_label.setVisible(not self._has_prompts)
        self.show_redactions(self._redactions)

    def redacted_kinds(self) -> tuple[RedactedKind, ...]:
        kinds: list[RedactedKind] = [] if self.hosts.isChecked() else ["hosts"]
        if not self.models.isChecked():
            kinds.append("models")
        if self._has_prompts and not self.prompts.isChecked():
            kinds.append("prompts")
        return tuple(kinds)

    def show_redactions(self, redactions: tuple[Redaction, ...]) -> None:
        self._redactions = redactions
        redactions = tuple(redaction for redaction in redactions if self._has_prompts or redaction.kind != "prompts")
        redacted_kinds, unchanged_text = self.redacted_kinds(), "unchanged"
        rows = [
            (
                redaction.original,
                redaction.occurrences,
                redaction.replacement if redaction.kind in redacted_kinds else unchanged_text,
            )
            for redaction in redactions
        ]
        self.names_table.set_frame(pd.DataFrame(rows, columns=["written", "Occurrences", "shown"]))
        set_table_description(self.names_table, "Names included in the file")
        self.names_table.setVisible(bool(redactions))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _on_toggled(self) -> None:
        self.show_redactions(self._redactions)
        self.changed.emit()

    def _fit(self) -> None:
        fit_height(self.names_table, _MAX_VISIBLE_ROWS)

    def _build(self) -> None:
        option_row = FlowLayout(gap=GAP_SECTION)
        option_row.addWidget(label("Include:", "muted"))
        for widget in (self.hosts, self.models, self.prompts, self.no_prompts_label, self.sidecars):
            option_row.addWidget(widget)
        vbox(option_row, self.names_table, within=self)


class ExportDrawer(QFrame):
    """Drawer that exports the displayed run to a file. `failed` is emitted with the error of a
    failed export."""

    failed = Signal(object)
    saved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Export")
        self._displayed_run: DisplayedRun | None = None
        self._exported_path: Path | None = None
        self._default_path: Path | None = None
        self._prompt_keys: tuple[str, ...] = ()
        self._formats = export_formats()
        self.format_box, self.path_field = QComboBox(), QLineEdit()
        self.format_box.setAccessibleName("Format")
        self.path_field.setAccessibleName("File")
        for report_format in self._formats:
            self.format_box.addItem(
                report_format.name
                if report_format.unavailable_reason is None
                else f"{report_format.name} ({report_format.unavailable_reason})",
                report_format.key,
            )
        self.contents = ExportContents()
        self.status = label("", "muted")
        self.save_button = button("&Save", self.save_now, primary=True)
        self.browse_button = button("C&hoose…", self._choose_path)
        self.open_button = button("&Open", self._open)
        self.show_folder_button = button("Show in &folder", self._show_folder)
        self.copy_button = button("Cop&y summary as Markdown", self._copy)
        self.close_button = button("Cl&ose", self.hide)
        self._build()
        self.format_box.currentIndexChanged.connect(self._on_option_changed)
        self.contents.changed.connect(self._on_option_changed)
        self._latest_rendering: LatestRunner[bytes] = LatestRunner(self, self._on_rendered, self.failed.emit)
        self._latest_redactions: LatestRunner[tuple[Redaction, ...]] = LatestRunner(
            self, self.contents.show_redactions, self.failed.emit
        )
        self.hide()

    def open_drawer(self, displayed_run: DisplayedRun) -> None:
        self.show()
        self.show_run(displayed_run)
        self.format_box.setFocus()

    def show_run(self, displayed_run: DisplayedRun) -> None:
        """Show the export options and the file size for a run."""
        is_different_run = self._displayed_run is None or self._displayed_run.directory != displayed_run.directory
        self._displayed_run, self._exported_path = displayed_run, None
        if is_different_run:
            self._default_path = None
            self.contents.reset()
            self._prompt_keys = find_prompt_keys(displayed_run)
        if self.isVisible():
            self._latest_redactions.request(lambda: find_redactions(displayed_run))
            self._on_option_changed()

    def options(self) -> ExportOptions:
        displayed_run, format_key = self._displayed_run, str(self.format_box.currentData())
        is_report_only = (
            displayed_run is not None
            and has_sidecars(displayed_run, format_key)
            and not self.contents.sidecars.isChecked()
        )
        return ExportOptions(format_key, self.contents.redacted_kinds(), is_report_only)

    def custom_path(self) -> Path | None:
        """Return the path that the user entered, or None for the default path."""
        path = Path(self.path_field.text()).expanduser()
        return (
            None
            if self._displayed_run is None or path == get_default_path(self._displayed_run, self.options())
            else path
        )

    def save_now(self) -> None:
        displayed_run, options = self._displayed_run, self.options()
        if displayed_run is None or not self.save_button.isEnabled():
            return
        path = Path(self.path_field.text()).expanduser()
        self.save_button.setEnabled(False)
        submit(self, lambda: write_report(displayed_run, options, path), self._on_saved, self._on_error)

    def _on_option_changed(self) -> None:
        displayed_run = self._displayed_run
        if displayed_run is None:
            return
        self.contents.set_prompts_unavailable_reason(self._get_no_prompts_reason())
        self._exported_path, options = None, self.options()
        self._show_path(get_default_path(displayed_run, options))
        self.contents.sidecars.setVisible(has_sidecars(displayed_run, options.format))
        is_available = (
            next(
                report_format for report_format in self._formats if report_format.key == options.format
            ).unavailable_reason
            is None
        )
        self.save_button.setEnabled(False)
        self._update_open_buttons()
        self.status.setText("Preparing the export…" if is_available else "This format is not available.")
        if is_available:
            self._latest_rendering.request(lambda: render_report(displayed_run, options))

    def _get_no_prompts_reason(self) -> str | None:
        if not self._prompt_keys:
            return "This profile contains no prompts."
        return None if has_profile(str(self.format_box.currentData())) else "This format does not include prompts."

    def _show_path(self, default_path: Path) -> None:
        """Show the default path. If the user has entered a path, only its file extension changes to
        that of the new format."""
        path, previous_path = Path(self.path_field.text()), self._default_path
        self._default_path = default_path
        if previous_path is None or path == previous_path:
            self.path_field.setText(str(default_path))
        elif previous_path.suffix != default_path.suffix:
            self.path_field.setText(str(path.with_suffix(default_path.suffix)))

    def _on_rendered(self, content: bytes) -> None:
        self.status.setText(format_size(len(content)))
        self.save_button.setEnabled(True)

    def _on_error(self, error: Exception) -> None:
        self.save_button.setEnabled(True)
        self.failed.emit(error)

    def _on_saved(self, exported_file: ExportedFile) -> None:
        self._exported_path = exported_file.path
        self.save_button.setEnabled(True)
        self.status.setText(f"Saved ({format_size(exported_file.size_bytes)})")
        self._update_open_buttons()
        self.saved.emit(exported_file)

    def _update_open_buttons(self) -> None:
        for action_button in (self.open_button, self.show_folder_button):
            action_button.setEnabled(self._exported_path is not None)

    def _choose_path(self) -> None:
        file_name, _ = QFileDialog.getSaveFileName(self, "Save report as", self.path_field.text())
        if file_name:
            self.path_field.setText(file_name)

    def _open(self) -> None:
        if self._exported_path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._exported_path)))

    def _show_folder(self) -> None:
        if self._exported_path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._exported_path.parent)))

    def _copy(self) -> None:
        displayed_run = self._displayed_run
        if displayed_run is not None:
            redacted_kinds = self.contents.redacted_kinds()
            # Markdown contains no prompts
            options = ExportOptions("markdown", tuple(kind for kind in redacted_kinds if kind != "prompts"))
            submit(self, lambda: render_report(displayed_run, options), self._on_copied, self.failed.emit)

    def _on_copied(self, content: bytes) -> None:
        QGuiApplication.clipboard().setText(content.decode())
        self.status.setText("The summary was copied to the clipboard.")

    def _build(self) -> None:
        format_row, action_row = QHBoxLayout(), FlowLayout()
        format_row.addWidget(label("Export", "heading"))
        format_row.addWidget(self.format_box)
        format_row.addWidget(self.path_field, 1)
        format_row.addWidget(self.browse_button)
        action_widgets = (
            self.save_button,
            self.open_button,
            self.show_folder_button,
            self.copy_button,
            self.close_button,
            self.status,
        )
        height = max(widget.sizeHint().height() for widget in action_widgets)
        for widget in action_widgets:
            widget.setMinimumHeight(height)
            action_row.addWidget(widget)
        vbox(format_row, self.contents, action_row, within=self, margins=TILE_MARGINS)
