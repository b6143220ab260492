"""The window put together: what pages wish for goes to whoever fulfils it."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from app.gui.deeds import Doing, deeds_of
from app.gui.navigation import Navigation
from app.gui.opening import Opening
from app.gui.settings import apply_settings, open_settings
from app.gui.switchboard import Switchboard
from app.gui.theme import Look
from app.gui.window import Window


def assemble(application: QApplication) -> tuple[Window, Opening]:
    """A window that stands where it stood, not shown yet; and what opens files in it."""
    settings = open_settings()
    look = application.findChild(Look) or Look(application)
    apply_settings(settings, look)
    window = Window(Navigation(application), look, settings)
    opening, board = Opening(window), Switchboard(window)
    window.set_deeds(
        deeds_of(
            Doing(
                open_files=opening.ask,
                export=board.export,
                settings=board.show_settings,
                close=window.close,
                undo=board.undo,
                redo=board.redo,
                filter=board.filter,
                copy_command=window.copy_command,
                new_profile=board.start,
                start=board.start,
                repeat=board.start,
                stop=board.start,
                compare=board.compare,
                show_page=window.show_page,
                palette=window.open_palette,
                next_pane=board.next_pane,
                reset_layout=window.state.reset,
                help=board.show_help,
            )
        )
    )
    window.show_page("home")
    window.state.restore()
    return window, opening
