"""Assembly of the main window: creates its components, and connects the signals of the pages to
their handlers."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QApplication

from app.gui.action_specs import ActionHandlers, build_action_specs
from app.gui.docks.gpu import GpuDock
from app.gui.docks.job_queue import JobQueue
from app.gui.docks.jobs import JobsDock
from app.gui.docks.log import LogDock
from app.gui.docks.machine_watch import MachineWatch
from app.gui.file_opening import FileOpener
from app.gui.gui_thread_gc import GuiThreadGc
from app.gui.home.page import HomePage
from app.gui.launching import RunLauncher
from app.gui.navigation import Navigation
from app.gui.page_routing import PageActions, PageRouter
from app.gui.recovery import Recovery
from app.gui.settings import apply_settings, open_settings
from app.gui.status_bar import StatusBar
from app.gui.theme import ThemeController
from app.gui.window import Window

_MIN_WIDTH_FOR_DOCKS_PX = 1600


class WindowComponents(QObject):
    """Components of a window, which are deleted together with the window."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        navigation = window.navigation
        self.gui_thread_gc = GuiThreadGc(self)
        self.queue, self.machine = JobQueue(window.settings, self), MachineWatch(self)
        self.recovery = Recovery(navigation, window.settings, self)
        self.file_opener, self.page_actions, self.page_router = (
            FileOpener(window),
            PageActions(window),
            PageRouter(window),
        )
        self.run_launcher = RunLauncher(window, self.queue, self.machine, self.recovery)
        self.jobs = JobsDock(navigation, self.queue, window)
        self.gpu, self.log = GpuDock(self.machine, window), LogDock(navigation, window)
        self.status = StatusBar(navigation, self.queue, self.machine, window)
        self._had_waiting = False

    def show_waiting_jobs(self) -> None:
        """Show the Jobs dock when a job has to wait for the first time. If the user closes the
        dock, it is not opened again."""
        has_waiting = bool(self.queue.waiting or self.queue.offered)
        if has_waiting and not self._had_waiting:
            self.jobs.show()
        self._had_waiting = has_waiting


def assemble(application: QApplication) -> tuple[Window, WindowComponents]:
    """Build the window and its components, and restore the stored position and layout. The window
    is not shown yet."""
    settings = open_settings()
    look = application.findChild(ThemeController) or ThemeController(application)
    apply_settings(settings, look)
    window = Window(Navigation(), look, settings)
    window.navigation.setParent(window)
    parts = WindowComponents(window)
    window.set_actions(build_action_specs(_action_handlers(window, parts)))
    right, bottom = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
    window.add_docks(((right, parts.jobs), (right, parts.gpu), (bottom, parts.log)))
    window.setStatusBar(parts.status)
    _connect(window, parts)
    window.show_page("home")
    for dock in (parts.jobs, parts.gpu):
        dock.setVisible(_has_room(window))
    window.state.restore()
    return window, parts


def _has_room(window: Window) -> bool:
    """Return whether the screen is wide enough for docks beside the page. Otherwise the docks are
    hidden, and the user can open them from the status bar."""
    return window.screen().availableSize().width() >= _MIN_WIDTH_FOR_DOCKS_PX


def _connect(window: Window, parts: WindowComponents) -> None:
    window.entries = parts.file_opener.entries
    parts.jobs.stop_requested.connect(parts.run_launcher.stop)
    parts.queue.changed.connect(parts.show_waiting_jobs)
    parts.show_waiting_jobs()
    window.closed.connect(parts.machine.close)
    window.closed.connect(parts.gui_thread_gc.stop)

    def explain(name: str) -> None:
        docks = {dock.objectName(): dock for dock in (parts.jobs, parts.gpu, parts.log)}
        if name in docks:
            docks[name].show()
            docks[name].raise_()
        else:
            window.navigation.page_requested.emit(name)

    parts.status.explanation_requested.connect(explain)
    home = window.pages.page("home")
    assert isinstance(home, HomePage)
    home.set_machine(parts.machine)
    home.set_recovery(parts.recovery)
    parts.recovery.refresh()
    parts.run_launcher.find_running_pairs()


def _action_handlers(window: Window, parts: WindowComponents) -> ActionHandlers:
    board, launching = parts.page_actions, parts.run_launcher
    return ActionHandlers(
        open_files=parts.file_opener.choose_files,
        export=board.export,
        settings=board.show_settings,
        close=window.close,
        undo=board.undo,
        redo=board.redo,
        filter=board.filter,
        copy_command=window.copy_command,
        new_profile=parts.page_router.new_profile,
        start=launching.start,
        repeat=launching.repeat,
        stop=launching.stop,
        compare=board.compare,
        show_page=window.show_page,
        palette=window.open_palette,
        next_pane=board.next_pane,
        reset_layout=window.state.reset,
        help=board.show_help,
    )
