"""Settings dialog: settings with explanations, and a search field that hides the settings that do
not match."""

from __future__ import annotations

from PySide6.QtCore import QSettings, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from app.gui.settings import NOTIFICATIONS, TEXT_SCALE, THEME, THEMES, are_notifications_enabled
from app.gui.theme import ThemeChoice, ThemeController
from app.gui.widgets import button, label, scroll_area, search_field, vbox
from app.storage.run_directory import runs_home

_SCALES = (1.0, 1.25, 1.5, 2.0)


class SettingsDialog(QDialog):
    """Dialog with the settings of the window. Every change is applied and stored immediately."""

    def __init__(self, parent: QWidget, settings: QSettings, theme_controller: ThemeController) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Settings")
        self.setAccessibleName("Settings")
        self._settings, self._look = settings, theme_controller
        self._rows: list[tuple[str, QWidget]] = []
        self.search = search_field("Search settings")
        self.search.textChanged.connect(self._filter)
        body = QWidget()
        self._column = QVBoxLayout(body)
        self._add("Theme", "Light, dark, high contrast or system.", self._theme())
        self._add("Text size", "Scales all text.", self._text_size())
        self._add(
            "Notifications",
            "Desktop notification when a run of more than 30 s ends while the window is in the background.",
            self._notifications(),
        )
        self._add(
            "Runs folder",
            f"{runs_home()}. To change it, set SIZEWISE_HOME before you start Sizewise.",
            button("&Open folder", self._open_folder),
        )
        self._add(
            "Privacy",
            ("Sizewise connects only to the endpoints that you configure: no telemetry, no account, no update check."),
            None,
        )
        self._column.addStretch(1)
        area = scroll_area(body)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.close)
        vbox(self.search, (area, 1), close, within=self, margins=None)
        self.resize(620, 460)

    def _add(self, name: str, explanation: str, editor: QWidget | None) -> None:
        row = QFrame()
        row.setProperty("role", "card")
        line = QHBoxLayout(row)
        text = vbox(label(name, "heading"), label(explanation, "muted", wrap=True))
        line.addLayout(text, 1)
        if editor is not None:
            editor.setAccessibleName(name)
            editor.setAccessibleDescription(explanation)
            line.addWidget(editor, 0, Qt.AlignmentFlag.AlignTop)
        self._rows.append((f"{name} {explanation}".casefold(), row))
        self._column.addWidget(row)

    def _filter(self, typed: str) -> None:
        terms = typed.casefold().split()
        for text, row in self._rows:
            row.setVisible(all(term in text for term in terms))

    def _theme(self) -> QComboBox:
        choices = THEMES
        box = QComboBox()
        for choice, title in choices.items():
            box.addItem(title, choice)
        box.setCurrentIndex(list(choices).index(self._look.choice))
        box.activated.connect(lambda row: self._choose_theme(list(choices)[row]))
        return box

    def _choose_theme(self, choice: ThemeChoice) -> None:
        self._look.set_choice(choice)
        self._settings.setValue(THEME, choice)

    def _text_size(self) -> QComboBox:
        box = QComboBox()
        for scale in _SCALES:
            box.addItem(f"{scale:.0%}", scale)
        nearest = min(_SCALES, key=lambda scale: abs(scale - self._look.text_scale))
        box.setCurrentIndex(_SCALES.index(nearest))
        box.activated.connect(lambda row: self._scale(_SCALES[row]))
        return box

    def _scale(self, scale: float) -> None:
        self._look.scale_text(scale)
        self._settings.setValue(TEXT_SCALE, scale)

    def _notifications(self) -> QCheckBox:
        box = QCheckBox("Show notifications")
        box.setChecked(are_notifications_enabled(self._settings))
        box.toggled.connect(lambda on: self._settings.setValue(NOTIFICATIONS, on))
        return box

    def _open_folder(self) -> None:
        runs_home().mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(runs_home())))
