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

from app.gui.formatting import format_percent
from app.gui.settings import NOTIFICATIONS_KEY, TEXT_SCALE_KEY, THEME_KEY, THEME_TITLES, are_notifications_enabled
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
        self._settings, self._theme_controller = settings, theme_controller
        self._rows: list[tuple[str, QWidget]] = []
        self.search = search_field("Search settings")
        self.search.textChanged.connect(self._filter)
        content = QWidget()
        self._column = QVBoxLayout(content)
        self._add_row(
            "Theme",
            "Choose a theme, or follow the color scheme and the contrast setting of the system.",
            self._create_theme_box(),
        )
        self._add_row("Text size", "Scale all text in the window.", self._create_text_size_box())
        self._add_row(
            "Notifications",
            "Show a desktop notification when a run of more than 30 s ends while the window is in the background.",
            self._create_notifications_box(),
        )
        self._add_row(
            "Runs folder",
            f"Runs are stored in {runs_home()}. To change the folder, set SIZEWISE_HOME before you start Sizewise.",
            button("&Open folder", self._open_folder),
        )
        self._add_row(
            "Privacy",
            ("Sizewise connects only to the endpoints that you configure: no telemetry, no account, no update check."),
            None,
        )
        self._column.addStretch(1)
        area = scroll_area(content)
        button_box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        button_box.rejected.connect(self.close)
        vbox(self.search, (area, 1), button_box, within=self, margins=None)
        self.resize(620, 460)

    def _add_row(self, name: str, explanation: str, editor: QWidget | None) -> None:
        row = QFrame()
        row.setProperty("role", "card")
        line = QHBoxLayout(row)
        text_column = vbox(label(name, "heading"), label(explanation, "muted", wrap=True))
        line.addLayout(text_column, 1)
        if editor is not None:
            editor.setAccessibleName(name)
            editor.setAccessibleDescription(explanation)
            line.addWidget(editor, 0, Qt.AlignmentFlag.AlignTop)
        self._rows.append((f"{name} {explanation}".casefold(), row))
        self._column.addWidget(row)

    def _filter(self, query: str) -> None:
        terms = query.casefold().split()
        for text, row in self._rows:
            row.setVisible(all(term in text for term in terms))

    def _create_theme_box(self) -> QComboBox:
        choices = THEME_TITLES
        box = QComboBox()
        for choice, title in choices.items():
            box.addItem(title, choice)
        box.setCurrentIndex(list(choices).index(self._theme_controller.choice))
        box.activated.connect(lambda row: self._choose_theme(list(choices)[row]))
        return box

    def _choose_theme(self, choice: ThemeChoice) -> None:
        self._theme_controller.set_choice(choice)
        self._settings.setValue(THEME_KEY, choice)

    def _create_text_size_box(self) -> QComboBox:
        box = QComboBox()
        for scale in _SCALES:
            box.addItem(format_percent(scale), scale)
        nearest_scale = min(_SCALES, key=lambda scale: abs(scale - self._theme_controller.text_scale))
        box.setCurrentIndex(_SCALES.index(nearest_scale))
        box.activated.connect(lambda row: self._choose_scale(_SCALES[row]))
        return box

    def _choose_scale(self, scale: float) -> None:
        self._theme_controller.scale_text(scale)
        self._settings.setValue(TEXT_SCALE_KEY, scale)

    def _create_notifications_box(self) -> QCheckBox:
        check_box = QCheckBox("Show notifications")
        check_box.setChecked(are_notifications_enabled(self._settings))
        check_box.toggled.connect(lambda is_on: self._settings.setValue(NOTIFICATIONS_KEY, is_on))
        return check_box

    def _open_folder(self) -> None:
        runs_home().mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(runs_home())))
