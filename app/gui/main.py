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

    from app.gui.assembly import Parts
    from app.gui.window import Window


_PATIENCE_MS = 700


def open_window(paths: tuple[Path, ...]) -> int:
    """Show the window, with what is named opened in it, until it is closed. Raises UnavailableError where there is no
    display, or no Qt that works."""
    require_qt()
    require_display(os.environ)
    from PySide6.QtCore import QTimer

    from app.gui.crash_log import CrashLog, notice_of_found
    from app.gui.interrupts import Interrupts
    from app.gui.warming import Warming

    application, window, parts = prepare()
    interrupts, crash_log = Interrupts(window, application.quit), CrashLog(_data_folder())
    found = notice_of_found(crash_log.begin())
    _tell_bugs(window)
    window.show()
    Warming(window)
    if found is not None:
        window.navigation.told.emit(found)
    QTimer.singleShot(0, lambda: parts.opening.open_paths(paths))
    try:
        code = application.exec()
    finally:
        window.state.keep()
        interrupts.end()
        crash_log.end()
    return _ended(code)


def prepare() -> tuple[QApplication, Window, Parts]:
    """The application and its window, ready to be shown."""
    from PySide6.QtWidgets import QApplication

    from app.gui.assembly import assemble

    application = QApplication(["sizewise"])
    application.setApplicationName("sizewise")
    application.setApplicationDisplayName("Sizewise")
    return application, *assemble(application)


def _ended(code: int) -> int:
    """What is still worked on goes down with the process: Qt would wait for it, and it for Python's lock, which an
    interpreter that ends gives to no thread."""
    from PySide6.QtCore import QThreadPool

    if not QThreadPool.globalInstance().waitForDone(_PATIENCE_MS):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _data_folder() -> Path:
    from app.storage.run_directory import runs_home

    return runs_home().parent


def _tell_bugs(window: Window) -> None:
    """What a slot did not catch is told in the window, with its traceback to copy, and the window goes on."""

    def tell(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, at)
        if isinstance(error, Exception):
            window.navigation.tell_error(error)

    sys.excepthook = tell
