"""Pairs whose turn has come, or that the last window left going: Compare shows them, toolbar and docks tell of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from app.gui.background import submit
from app.gui.docks.job_queue import JobQueue
from app.gui.docks.job_words import turn_line
from app.gui.live.state import LiveState
from app.gui.navigation import Launch
from app.gui.recovery import Recovery
from app.gui.run_bar import RunBar
from app.gui.window import Window

if TYPE_CHECKING:
    from app.gui.compare.pairs_part import PairsPart
    from app.gui.compare.pairs_state import PairsState


class LaunchingPairs(QObject):
    def __init__(self, window: Window, queue: JobQueue, recovery: Recovery, bar: RunBar) -> None:
        super().__init__(window)
        self._window, self._queue, self._recovery, self._bar = window, queue, recovery, bar
        self._is_listening = False
        self._run: Path | None = None
        window.navigation.pairs_watched.connect(self.watch)

    def look(self) -> None:
        """For pairs that the last window left going: it is as if this one had begun them."""
        submit(self, _pairs_to_show, self._attach, self._window.navigation.tell_error)

    def launch(self, launch: Launch) -> None:
        self._shown().launch(launch)  # its engine starts while the page is drawn
        self._window.show_page("compare")

    def watch(self, directory: Path) -> None:
        self._window.show_page("compare")
        self._shown().watch(directory)

    def watching(self, directory: Path) -> PairsPart:
        """What Compare shows of those pairs, where it showed others."""
        pairs = self._shown()
        if pairs.state.directory != directory:
            pairs.watch(directory)
        return pairs

    def _shown(self) -> PairsPart:
        pairs = self._window.pages.compare.contents.pairs
        if not self._is_listening:
            self._is_listening = True
            pairs.changed.connect(self._show)
        return pairs

    def _attach(self, found: tuple[Path, bool] | None) -> None:
        if found is None:
            return
        directory, is_going = found
        what = "Pairs have ended while no window was open. Compare shows what came of them."
        if is_going:
            what = "Pairs are still measured, which another window began, or a terminal. Compare shows how they go."
            self._queue.watch(directory, directory.name, "pairs")
        self._shown().watch(directory)
        self._window.navigation.tell("news", what)

    def _show(self, state: PairsState) -> None:
        self._bar.show_state(_told_as_a_run(state))
        turn = state.progress.turn
        if turn is not None and Path(turn.directory) != self._run:
            self._follow(Path(turn.directory))
        if state.going == "failed" and state.directory is not None:
            self._queue.launch_failed(state.directory, state.said)

    def _follow(self, run: Path) -> None:
        """Another one of their runs is measured: whoever watched the last one watches it."""
        before, self._run = self._run, run
        self._recovery.leave_out(run)
        live = self._window.pages.found("live")
        if live is not None and before in live.runs():
            self._window.pages.live.watch(run)


def _told_as_a_run(state: PairsState) -> LiveState:
    progress = state.progress
    return LiveState(
        going=state.going if state.going != "ended" else "finished",
        name=state.name,
        directory=state.directory,
        phase="" if progress.turn is None else turn_line(progress.turn),
        done=progress.done,
        total=progress.total,
        elapsed_s=progress.elapsed_s,
        eta_s=state.eta_s(),
    )


def _pairs_to_show() -> tuple[Path, bool] | None:
    from app.gui.compare.beside import pairs_to_show

    return pairs_to_show()
