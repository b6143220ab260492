"""Stored settings of the window: an .ini file in SIZEWISE_HOME if set, otherwise in the user's
configuration directory."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import QSettings

from app.gui.theme import ThemeChoice, ThemeController

THEME_KEY, TEXT_SCALE_KEY, NOTIFICATIONS_KEY = "look/theme", "look/text_scale", "notifications/enabled"


def open_settings() -> QSettings:
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return QSettings(str(Path(home) / "window.ini"), QSettings.Format.IniFormat)
    import platformdirs

    directory = Path(platformdirs.user_config_dir("sizewise", appauthor=False))
    return QSettings(str(directory / "window.ini"), QSettings.Format.IniFormat)


def apply_settings(settings: QSettings, theme_controller: ThemeController) -> None:
    """Apply the stored theme and text size. A value that cannot be read is treated as not set."""
    choice = settings.value(THEME_KEY, "system")
    theme_controller.set_choice(next((theme for theme in THEME_TITLES if theme == choice), "system"))
    theme_controller.scale_text(_parse_number(settings.value(TEXT_SCALE_KEY, 1.0)))


def are_notifications_enabled(settings: QSettings) -> bool:
    return str(settings.value(NOTIFICATIONS_KEY, "true")).lower() != "false"


THEME_TITLES: dict[ThemeChoice, str] = {
    "system": "System",
    "light": "Light",
    "dark": "Dark",
    "contrast": "High contrast, dark",
    "contrast_light": "High contrast, light",
}


def _parse_number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 1.0
