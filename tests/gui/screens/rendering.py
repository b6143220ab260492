"""Renders the pages of the window as images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QDeadlineTimer, QEvent, QEventLoop, QPoint, QThreadPool, QTimer
from PySide6.QtWidgets import QApplication, QScrollArea, QTabWidget

from app.gui.assembly import assemble
from app.gui.page import TITLES
from app.gui.settings import THEME_TITLES
from app.gui.theme import ThemeChoice
from app.gui.window import Window

_IDLE_S, _TIMEOUT_S = 0.6, 40.0
_TURN_MS, _MIN_TURNS = 20, 5


def render_pages(
    application: QApplication,
    folder: Path,
    state: str,
    runs: tuple[Path, ...],
    themes: tuple[str, ...],
    size: tuple[int, int],
    text_scale: float,
) -> list[Path]:
    """Render each page, and each of its tabs, in each theme. `runs` are directories in `runs_home()`."""
    window, _ = assemble(application)
    window.resize(*size)
    window.show()
    window.theme_controller.scale_text(text_scale)
    written = []
    if runs:
        fill(window, runs)
    for theme in themes:
        window.theme_controller.set_choice(_choice(theme))
        for key in TITLES:
            window.show_page(key)
            written += [_grab(window, folder / f"{key}{part}-{state}-{theme}.png") for part in _parts(window)]
    window.may_close = None
    window.close()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    return written


def fill(window: Window, runs: tuple[Path, ...]) -> None:
    """Show data of the runs on every page."""
    window.pages.live.watch(runs[0])
    window.pages.results.open_run(runs[0])
    if len(runs) > 1:
        window.pages.compare.compare(runs[:2])
    window.pages.plan.open_sources(runs[:1])
    window.pages.run.open_profile(runs[0] / "spec.yaml")
    wait_until_idle()


def _parts(window: Window) -> Iterator[str]:
    """Show each tab of the page and yield a part of its file name. Tabs after the first are scrolled to the tab bar."""
    wait_until_idle()
    tabs = next(
        (
            candidate
            for candidate in window.pages.current.findChildren(QTabWidget)
            if candidate.isVisible() and candidate.count()
        ),
        None,
    )
    if tabs is None:
        yield ""
        return
    indexes = [index for index in range(tabs.count()) if tabs.isTabEnabled(index) and tabs.isTabVisible(index)]
    for index in indexes:
        tabs.setCurrentIndex(index)
        wait_until_idle()
        _scroll_to(tabs, from_top=index == indexes[0])
        yield f"-{index + 1}"
    tabs.setCurrentIndex(indexes[0])


def _scroll_to(tabs: QTabWidget, *, from_top: bool) -> None:
    ancestor = tabs.parentWidget()
    while ancestor is not None and not isinstance(ancestor, QScrollArea):
        ancestor = ancestor.parentWidget()
    inside = None if ancestor is None else ancestor.widget()
    if ancestor is not None and inside is not None:
        top = 0 if from_top else tabs.mapTo(inside, QPoint(0, 0)).y()
        ancestor.verticalScrollBar().setValue(top)
        wait_until_idle()


def _grab(window: Window, path: Path) -> Path:
    window.grab().save(str(path))
    return path


def wait_until_idle(
    quiet: Callable[[], bool] = lambda: QThreadPool.globalInstance().activeThreadCount() == 0,
    moment_s: float = _IDLE_S,
) -> None:
    """Run the event loop until background work has been idle for `moment_s`, so that timers and repaints have run, and
    for a minimum number of turns, which matters on a busy machine."""
    deadline, quiet_since, turns = QDeadlineTimer(int(_TIMEOUT_S * 1000)), time.monotonic(), 0
    while not deadline.hasExpired():
        _turn()
        turns += 1
        if not quiet():
            quiet_since, turns = time.monotonic(), 0
        elif turns >= _MIN_TURNS and time.monotonic() - quiet_since > moment_s:
            return


def _turn() -> None:
    """Run the event loop once; unlike QTest.qWait, this releases the GIL for other threads."""
    loop = QEventLoop()
    QTimer.singleShot(_TURN_MS, loop.quit)
    loop.exec()


def _choice(name: str) -> ThemeChoice:
    return next(theme for theme in THEME_TITLES if theme == name)
