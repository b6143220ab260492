"""What the window remembers: an .ini in SIZEWISE_HOME, else in the user's configuration folder."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import QSettings


def open_settings() -> QSettings:
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return QSettings(str(Path(home) / "window.ini"), QSettings.Format.IniFormat)
    import platformdirs

    folder = Path(platformdirs.user_config_dir("sizewise", appauthor=False))
    return QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
