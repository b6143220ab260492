"""Help menu: keyboard shortcuts and the location of the documentation (F1), what to send with a report
of a problem, and the versions of the program."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import PySide6
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QAction, QDesktopServices
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QMessageBox, QWidget

from app import __version__
from app.gui.crash_log import LAST_LOG
from app.gui.navigation import Notice
from app.gui.widgets import label, vbox
from app.storage.run_directory import runs_home


class HelpDialog(QDialog):
    def __init__(self, parent: QWidget, actions: Sequence[QAction]) -> None:
        import pandas as pd

        from app.gui.tables import FrameModel, FrameTable

        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAccessibleName("Keyboard shortcuts")
        rows = [
            (action.text().replace("&", ""), ", ".join(key.toString() for key in action.shortcuts()))
            for action in actions
            if action.shortcuts()
        ]
        frame = pd.DataFrame([*rows, *_CHART_SHORTCUTS], columns=["Action", "Shortcut"])
        self.table = FrameTable(FrameModel(), "Keyboard shortcuts")
        self.table.set_frame(frame)
        button_box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        button_box.rejected.connect(self.close)
        vbox(
            label(f"Sizewise {__version__}", "heading"),
            label(
                (
                    "Start with the quick check on Home. Press Ctrl+Shift+C to copy the equivalent terminal command of "
                    "a page. The documentation starts at docs/index.md."
                ),
                wrap=True,
            ),
            (self.table, 1),
            button_box,
            within=self,
            margins=None,
        )
        self.resize(560, 620)


_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "locust")
_CHART_SHORTCUTS: list[tuple[str, str]] = [
    ("Chart: move the crosshair", "←, →"),
    ("Chart: zoom in, zoom out", "+, -"),
    ("Chart: show all data", "Home"),
    ("Chart: show as a table", "T"),
    ("Chart: add a marker", "M"),
]


def show_about(parent: QWidget) -> None:
    """Show the versions of Sizewise and of what it runs on, and the license."""
    message_box = QMessageBox(QMessageBox.Icon.NoIcon, "About Sizewise", f"Sizewise {__version__}", parent=parent)
    message_box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    message_box.setInformativeText("\n".join([*list_versions(), "License: Apache-2.0"]))
    message_box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    message_box.open()


def list_versions() -> list[str]:
    """Return the versions of Python and of the installed libraries that determine the results."""
    system = f"{platform.system()} {platform.machine()}"
    versions = [f"Python {platform.python_version()} on {system}", f"PySide6 {PySide6.__version__}"]
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return versions


def open_crash_log_folder() -> Notice:
    """Open the folder of the crash log, and return what a report of a problem should contain."""
    folder = runs_home().parent
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
    return Notice(
        "news",
        "A report of a problem needs the output of `sizewise doctor` and the steps that led to the problem.",
        f"After a crash, attach {folder / LAST_LOG}, too.",
        details="\n".join([f"Sizewise {__version__}", *list_versions()]),
    )
