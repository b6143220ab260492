"""Assembly of the main window from its components, including the connections between signals and
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
    """Components of a window. They are deleted together with the window."""

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
        self.jobs_dock = JobsDock(navigation, self.queue, window)
        self.gpu_dock, self.log_dock = GpuDock(self.machine, window), LogDock(navigation, window)
        self.status_bar = StatusBar(navigation, self.queue, self.machine, window)
        self._had_waiting_jobs = False

    def show_waiting_jobs(self) -> None:
        """Show the Jobs dock the first time that a job has to wait. If the user closes the dock, it
        is not opened again."""
        has_waiting_jobs = bool(self.queue.waiting_jobs or self.queue.offered_launches)
        if has_waiting_jobs and not self._had_waiting_jobs:
            self.jobs_dock.show()
        self._had_waiting_jobs = has_waiting_jobs


def assemble(application: QApplication) -> tuple[Window, WindowComponents]:
    """Build the window and its components, and restore the stored position and layout. The window
    is not shown yet."""
    settings = open_settings()
    theme_controller = application.findChild(ThemeController) or ThemeController(application)
    apply_settings(settings, theme_controller)
    window = Window(Navigation(), theme_controller, settings)
    window.navigation.setParent(window)
    components = WindowComponents(window)
    window.set_actions(build_action_specs(_action_handlers(window, components)))
    right_area, bottom_area = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
    window.add_docks(
        ((right_area, components.jobs_dock), (right_area, components.gpu_dock), (bottom_area, components.log_dock))
    )
    window.setStatusBar(components.status_bar)
    _connect(window, components)
    window.show_page("home")
    for dock in (components.jobs_dock, components.gpu_dock):
        dock.setVisible(_has_room_for_docks(window))
    window.state.restore()
    return window, components


def _has_room_for_docks(window: Window) -> bool:
    """Return whether the screen is wide enough for docks beside the page. Otherwise the docks are
    hidden, and the user can open them from the status bar."""
    return window.screen().availableSize().width() >= _MIN_WIDTH_FOR_DOCKS_PX


def _connect(window: Window, components: WindowComponents) -> None:
    window.list_palette_entries = components.file_opener.list_palette_entries
    components.jobs_dock.stop_requested.connect(components.run_launcher.stop)
    components.queue.changed.connect(components.show_waiting_jobs)
    components.show_waiting_jobs()
    window.closed.connect(components.machine.close)
    window.closed.connect(components.gui_thread_gc.stop)

    def show_explanation(target: str) -> None:
        docks = {dock.objectName(): dock for dock in (components.jobs_dock, components.gpu_dock, components.log_dock)}
        if target in docks:
            docks[target].show()
            docks[target].raise_()
        else:
            window.navigation.page_requested.emit(target)

    components.status_bar.explanation_requested.connect(show_explanation)
    home = window.pages.page("home")
    assert isinstance(home, HomePage)
    home.set_machine(components.machine)
    home.set_recovery(components.recovery)
    components.recovery.refresh()
    components.run_launcher.find_running_pairs()


def _action_handlers(window: Window, components: WindowComponents) -> ActionHandlers:
    page_actions, run_launcher = components.page_actions, components.run_launcher
    return ActionHandlers(
        open_files=components.file_opener.choose_files,
        export=page_actions.export,
        settings=page_actions.show_settings,
        close=window.close,
        undo=page_actions.undo,
        redo=page_actions.redo,
        filter=page_actions.filter,
        copy_command=window.copy_command,
        new_profile=components.page_router.create_endpoint_profile,
        start=run_launcher.start,
        repeat=run_launcher.repeat,
        stop=run_launcher.stop,
        compare=page_actions.compare,
        show_page=window.show_page,
        palette=window.open_palette,
        next_pane=page_actions.focus_next_pane,
        reset_layout=window.state.reset,
        help=page_actions.show_help,
        report_problem=page_actions.report_problem,
        about=page_actions.show_about,
    )
