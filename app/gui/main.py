"""`sizewise gui`: the desktop app. Its process only displays data; measurements run in separate
processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from app.gui.display import require_display, require_qt

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from app.gui.assembly import WindowComponents
    from app.gui.window import Window


_APPLICATION_ID = "org.sizewise.sizewise"
"""Name of the desktop entry, from which Wayland takes the icon of the window."""
_EXIT_TIMEOUT_MS = 700


def open_window(paths: tuple[Path, ...]) -> int:
    """Open the window, load `paths`, and return the exit code after the user has closed the window.
    Raises UnavailableError if there is no display or if Qt does not work."""
    require_qt()
    require_display(os.environ)
    from PySide6.QtCore import QTimer

    from app.gui.background import queue_work
    from app.gui.crash_log import CrashLog, build_crash_notice
    from app.gui.import_preloading import ImportPreloader
    from app.gui.interrupts import SignalHandler

    queue_work()
    application, window, components = prepare()

    def close_on_signal() -> None:
        window.close_without_question()
        application.exit()

    signal_handler, crash_log = SignalHandler(window, close_on_signal), CrashLog(_data_directory())
    notice = build_crash_notice(crash_log.begin())
    _report_uncaught_errors(window)
    window.show()
    ImportPreloader(window)
    if notice is not None:
        window.navigation.notice_emitted.emit(notice)
    QTimer.singleShot(0, lambda: components.file_opener.open_paths(paths))
    try:
        exit_code = application.exec()
    finally:
        window.state.save()
        signal_handler.restore()
        crash_log.end()
    return _finish(exit_code)


def prepare() -> tuple[QApplication, Window, WindowComponents]:
    """Create the application, its main window and the components of the window, ready to be
    shown."""
    from PySide6.QtGui import QIcon
    from PySide6.QtWidgets import QApplication

    from app.gui.assembly import assemble

    application = QApplication(["sizewise"])
    application.setApplicationName("sizewise")
    application.setApplicationDisplayName("Sizewise")
    application.setDesktopFileName(_APPLICATION_ID)
    application.setWindowIcon(QIcon(str(Path(__file__).with_name("icon.svg"))))
    return application, *assemble(application)


def _finish(exit_code: int) -> int:
    """Return `exit_code`, or exit the process immediately if background work is still running after
    a short wait.

    A normal exit would deadlock in this case: Qt waits for its threads, and the threads wait for
    the GIL, which an interpreter never releases to another thread while shutting down.
    """
    from PySide6.QtCore import QThreadPool

    if not QThreadPool.globalInstance().waitForDone(_EXIT_TIMEOUT_MS):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code


def _data_directory() -> Path:
    from app.storage.run_directory import runs_home

    return runs_home().parent


def _report_uncaught_errors(window: Window) -> None:
    """Report exceptions that no slot caught: show a notice in the window, with a traceback to copy,
    and keep the window running."""

    def report_exception(
        error_type: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.__excepthook__(error_type, error, traceback)
        if isinstance(error, Exception):
            window.navigation.notify_error(error)

    sys.excepthook = report_exception
