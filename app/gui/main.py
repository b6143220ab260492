"""`sizewise gui`: one process that paints, and measures nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from app.gui.display import require_display, require_qt

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from app.gui.opening import Opening
    from app.gui.window import Window


def open_window(paths: tuple[Path, ...]) -> int:
    """Show the window, with what is named opened in it, until it is closed. Raises UnavailableError where there is no
    display, or no Qt that works."""
    require_qt()
    require_display(os.environ)
    from PySide6.QtCore import QTimer

    from app.gui.interrupts import Interrupts

    application, window, opening = prepare()
    interrupts = Interrupts(window, application.quit)
    _tell_bugs(window)
    window.show()
    QTimer.singleShot(0, lambda: opening.open_paths(paths))
    try:
        return application.exec()
    finally:
        window.state.keep()
        interrupts.end()


def prepare() -> tuple[QApplication, Window, Opening]:
    """The application and its window, ready to be shown."""
    from PySide6.QtWidgets import QApplication

    from app.gui.assembly import assemble

    application = QApplication(["sizewise"])
    application.setApplicationName("sizewise")
    application.setApplicationDisplayName("Sizewise")
    return application, *assemble(application)


def _tell_bugs(window: Window) -> None:
    """What a slot did not catch is told in the window, with its traceback to copy, and the window goes on."""

    def tell(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, at)
        if isinstance(error, Exception):
            window.navigation.tell_error(error)

    sys.excepthook = tell
