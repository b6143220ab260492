"""Group of check boxes. A box whose option is not available shows the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QLabel, QLayout, QVBoxLayout, QWidget

from app.gui.flow import set_flow_layout
from app.gui.theme import GAP, GAP_SECTION, GAP_TIGHT, NO_MARGINS
from app.gui.widgets import label, tool_tip_text


class CheckBoxOption(msgspec.Struct, frozen=True):
    """Option of a check box group. `text` is the label. `unavailable_reason` says why the option is
    not available. `is_availability_known` is `False` while the availability is being checked."""

    value: str
    text: str
    unavailable_reason: str | None = None
    is_availability_known: bool = True


class CheckBoxGroup(QWidget):
    """Group of check boxes, either in lines that wrap, or in a column with the reason below each
    box.

    `selection_changed` is emitted with all selected values in the order of the options. The last
    selected value cannot be deselected.
    """

    selection_changed = Signal(list)

    def __init__(self, name: str, *, is_vertical: bool = False) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._name, self._is_vertical = name, is_vertical
        self._layout: QLayout = QVBoxLayout(self) if is_vertical else set_flow_layout(self)
        self._layout.setContentsMargins(*NO_MARGINS)
        self.boxes: dict[str, QCheckBox] = {}
        self._reason_labels: dict[str, QLabel] = {}
        self._options: tuple[CheckBoxOption, ...] = ()

    def set_options(self, options: Sequence[CheckBoxOption], selected_values: Iterable[str]) -> None:
        checked_values = set(selected_values)
        if tuple(options) != self._options:
            self._build(options)
        for value, box in self.boxes.items():
            with QSignalBlocker(box):
                box.setChecked(value in checked_values)

    def unavailable_reasons(self) -> Mapping[str, str]:
        """Return a mapping from each value that is not available to the reason."""
        return {
            option.value: option.unavailable_reason for option in self._options if option.unavailable_reason is not None
        }

    def _build(self, options: Sequence[CheckBoxOption]) -> None:
        """Show the options in their order. The boxes of values that are listed already are kept, so
        that a click or the focus on one of them is not lost."""
        previous_boxes, previous_labels = self.boxes, self._reason_labels
        for widget in (*previous_boxes.values(), *previous_labels.values()):
            self._layout.removeWidget(widget)
        self._options, self.boxes, self._reason_labels = tuple(options), {}, {}
        for option in options:
            box = previous_boxes.pop(option.value) if option.value in previous_boxes else self._create_box()
            self.boxes[option.value] = box
            box.setText(option.text)
            box.setAccessibleName(f"{self._name}: {option.text}")
            box.setAccessibleDescription(option.unavailable_reason or "")
            box.setToolTip(tool_tip_text(option.unavailable_reason or ""))
            self._layout.addWidget(box)
            if self._is_vertical:
                reason_label = previous_labels.pop(option.value) if option.value in previous_labels else _reason_label()
                reason_label.setText(self._format_availability(option))
                self._reason_labels[option.value] = reason_label
                self._layout.addWidget(reason_label)
        for widget in (*previous_boxes.values(), *previous_labels.values()):
            widget.hide()
            widget.deleteLater()

    def _create_box(self) -> QCheckBox:
        box = QCheckBox()
        box.clicked.connect(self._on_clicked)
        return box

    @staticmethod
    def _format_availability(option: CheckBoxOption) -> str:
        if not option.is_availability_known:
            return "Checking availability…"
        return "✓ available" if option.unavailable_reason is None else f"✗ {option.unavailable_reason}"

    def _on_clicked(self) -> None:
        selected_values = [value for value, box in self.boxes.items() if box.isChecked()]
        if selected_values:
            self.selection_changed.emit(selected_values)
            return
        box = self.sender()
        if isinstance(box, QCheckBox):
            box.setChecked(True)


def _reason_label() -> QLabel:
    reason_label = label("", "muted", wrap=True)
    reason_label.setContentsMargins(GAP_SECTION + GAP, 0, 0, GAP_TIGHT)
    return reason_label
