from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QComboBox, QWidget
from pytestqt.qtbot import QtBot

from app.gui.settings import THEME_KEY, apply_settings, are_notifications_enabled, open_settings
from app.gui.settings_dialog import SettingsDialog
from app.gui.theme import ThemeController


@pytest.fixture
def settings() -> QSettings:
    return open_settings()


@pytest.fixture
def dialog(qtbot: QtBot, settings: QSettings, theme: ThemeController) -> Iterator[SettingsDialog]:
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = SettingsDialog(parent, settings, theme)
    dialog.show()
    yield dialog
    dialog.close()


def find_box(dialog: SettingsDialog, name: str) -> QComboBox:
    return next(candidate for candidate in dialog.findChildren(QComboBox) if candidate.accessibleName() == name)


def test_selected_theme_is_applied_immediately_and_after_a_restart(
    dialog: SettingsDialog, settings: QSettings, theme: ThemeController, qtbot: QtBot
) -> None:
    themes = find_box(dialog, "Theme")
    themes.setCurrentIndex(themes.findData("dark"))
    themes.activated.emit(themes.currentIndex())
    assert theme.theme.name == "dark"
    theme.set_choice("light")
    apply_settings(settings, theme)
    assert theme.theme.name == "dark"
    theme.set_choice("light")


def test_settings_search_hides_settings_that_do_not_match(dialog: SettingsDialog, qtbot: QtBot) -> None:
    qtbot.keyClicks(dialog.search, "theme")
    assert find_box(dialog, "Theme").isVisible()
    assert not find_box(dialog, "Text size").isVisible()


def test_invalid_theme_and_text_size_settings_are_ignored(
    theme: ThemeController, tmp_path: Path, qapp: QApplication
) -> None:
    settings = open_settings()
    settings.setValue(THEME_KEY, "pink")
    settings.setValue("look/text_scale", "huge")
    apply_settings(settings, theme)
    assert (theme.choice, theme.text_scale) == ("system", 1.0)
    theme.set_choice("light")


def test_notifications_are_enabled_by_default(settings: QSettings) -> None:
    assert are_notifications_enabled(settings)
    settings.setValue("notifications/enabled", False)
    assert not are_notifications_enabled(settings)
