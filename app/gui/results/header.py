"""Header of a result: name of the run, its verdict, its labels, and buttons for actions on the run."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLineEdit, QWidget

from app.gui.flow import set_flow_layout
from app.gui.formatting import format_clock_time, format_duration, shorten
from app.gui.forms.collapsible import CollapsibleSection
from app.gui.results.state import DisplayedRun
from app.gui.theme import GAP, GAP_TIGHT
from app.gui.widgets import Badge, button, hbox, label, tool_tip_text, vbox
from app.records.bundle import MAX_TITLE_LENGTH, Labels
from app.records.control import MAX_NOTE_LENGTH
from reports.formatting import format_count_noun
from reports.model import ReportVerdict

_MAX_CHARACTERS = 300


class Header(QWidget):
    """Header that shows and edits the labels of a run. Tags are entered as words separated by
    spaces or commas.

    `label_section` is a separate widget, so that it can be placed below the result.
    """

    export_requested = Signal()
    compare_requested = Signal()
    plan_requested = Signal()
    repeat_requested = Signal()
    title_edited = Signal(str)
    tags_edited = Signal(str)
    note_entered = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.title = label("", "title", wrap=True)
        self.outcome, self.badge = Badge(), Badge()
        self.details = label("", "muted", wrap=True)
        self.title_field, self.tags_field, self.note_field = QLineEdit(), QLineEdit(), QLineEdit()
        self.notes = label("", wrap=True)
        self.buttons = (
            button("E&xport", self.export_requested.emit, primary=True),
            button("Co&mpare", self.compare_requested.emit),
            button("&Plan from this run", self.plan_requested.emit),
            button("Run a&gain", self.repeat_requested.emit),
        )
        self._top_row, self._button_panel = QBoxLayout(QBoxLayout.Direction.LeftToRight), QWidget()
        self.label_fields = QWidget()
        self.label_section = CollapsibleSection("Title, tags and notes", lambda: self.label_fields)
        self._build()
        self.title_field.editingFinished.connect(self._emit_title)
        self.tags_field.editingFinished.connect(self._emit_tags)
        self.note_field.returnPressed.connect(self._emit_note)
        self._labels, self._name = Labels(), ""
        self._properties: tuple[str, ...] = ()

    def show_run(self, displayed_run: DisplayedRun) -> None:
        header = displayed_run.own_report.header
        self._name = shorten(header.title, _MAX_CHARACTERS)
        self.badge.show_verdict(
            displayed_run.own_report.verdict.validity, "; ".join(displayed_run.result.verdict.reasons)
        )
        target = f"{header.target}, on {header.hardware}" if header.hardware else header.target
        self._properties = (
            format_clock_time(header.started),
            format_duration(header.duration_s),
            shorten(target, _MAX_CHARACTERS),
            header.run_id,
        )
        self.title_field.setPlaceholderText(self._name)
        self.show_labels(displayed_run.labels)

    def show_outcome(self, verdict: ReportVerdict) -> None:
        """Show the outcome of the run, or of its re-evaluation."""
        self.outcome.show_verdict(verdict.outcome, verdict.sentence)

    def show_labels(self, labels: Labels) -> None:
        self._labels = labels
        self.title.setText(labels.title or self._name)
        self.details.setText(" · ".join((self._name, *self._properties) if labels.title else self._properties))
        self.title_field.setText(labels.title)
        self.tags_field.setText(", ".join(labels.tags))
        self.notes.setText("\n".join(f"{format_clock_time(note.at)}  {note.text}" for note in labels.notes))
        self.notes.setVisible(bool(labels.notes))
        note_count = [format_count_noun(len(labels.notes), "note")] if labels.notes else []
        self.label_section.set_heading(self.label_section.head.text(), ", ".join([*labels.tags, *note_count]))

    def set_actions_enabled(self, comparison_obstacle: str | None, plan_obstacle: str | None) -> None:
        """Enable or disable the compare and plan buttons. Each obstacle is the reason why its
        button is disabled, shown as a tooltip; None enables the button."""
        _, compare_button, plan_button, _ = self.buttons
        for action_button, obstacle, description in (
            (compare_button, comparison_obstacle, "Compare this run with another run"),
            (plan_button, plan_obstacle, "Plan capacity from this run"),
        ):
            action_button.setEnabled(obstacle is None)
            action_button.setToolTip(tool_tip_text(obstacle or description))
            action_button.setAccessibleDescription(obstacle or description)

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self._fold()
        return super().event(event)

    def _fold(self) -> None:
        """Place the buttons below the title if both do not fit on one line."""
        widgets = (self.title, self.outcome, self.badge, self._button_panel)
        needed_px = sum(widget.sizeHint().width() + GAP for widget in widgets if not widget.isHidden())
        directions = QBoxLayout.Direction
        direction = directions.LeftToRight if needed_px <= self.width() else directions.TopToBottom
        if self._top_row.direction() != direction:
            self._top_row.setDirection(direction)

    def _emit_title(self) -> None:
        if self.title_field.text().strip() != self._labels.title:
            self.title_edited.emit(self.title_field.text())

    def _emit_tags(self) -> None:
        if self.tags_field.text() != ", ".join(self._labels.tags):
            self.tags_edited.emit(self.tags_field.text())

    def _emit_note(self) -> None:
        text = self.note_field.text().strip()
        if text:
            self.note_field.clear()
            self.note_entered.emit(text)

    def _build(self) -> None:
        middle = Qt.AlignmentFlag.AlignVCenter
        button_flow = set_flow_layout(self._button_panel, GAP, GAP_TIGHT, prefers_one_line=True)
        height = max(action_button.sizeHint().height() for action_button in self.buttons)
        for action_button in self.buttons:
            action_button.setMinimumHeight(height)
            button_flow.addWidget(action_button)
        title_row = hbox((self.title, 1), (self.outcome, 0, middle), (self.badge, 0, middle))
        self._top_row.addLayout(title_row, 1)
        self._top_row.addWidget(self._button_panel)
        label_row = QHBoxLayout()
        for caption, field, placeholder in (
            ("T&itle", self.title_field, ""),
            ("&Tags", self.tags_field, "Add tags, e.g. baseline, nightly"),
            ("&Note", self.note_field, "Add a note…"),
        ):
            field_label = label(caption, "muted", buddy=field)
            field.setAccessibleName(caption.replace("&", ""))
            field.setPlaceholderText(placeholder)
            label_row.addWidget(field_label)
            label_row.addWidget(field, 1)
        vbox(label_row, self.notes, within=self.label_fields, spacing=GAP_TIGHT)
        self.label_section.content()  # a widget that is shown before it has a parent would be a window
        self.title_field.setMaxLength(MAX_TITLE_LENGTH)
        self.title_field.setToolTip("Lists and reports show this title. Trends use the profile's name.")
        self.note_field.setMaxLength(MAX_NOTE_LENGTH)
        vbox(self._top_row, self.details, within=self, spacing=GAP_TIGHT)
