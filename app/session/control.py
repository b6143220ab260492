"""Obeys what is asked of a running engine through its run directory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, assert_never

from app.errors import ExitCode, UsageError
from app.records.control import AddNote, Answer, Extend, SetRate, StopRun, Wish
from app.session.interruption import Interruption
from loadgen.process import LoadError

_LOOK_S = 0.2
_MOST_NOTES = 100


class WishBox(Protocol):
    def obey_wishes(self, obey: Callable[[Wish], Answer]) -> None:
        """Take what was asked of the run since the last call, in its order, and leave the answers."""


class ControlWatch:
    """Looks for wishes in a thread of its own, from entering to leaving."""

    def __init__(
        self,
        store: WishBox,
        interruption: Interruption,
        *,
        add_note: Callable[[str], None],
        change_rate: Callable[[float], str],
        extend: Callable[[float], str],
    ) -> None:
        """`change_rate` and `extend` tell what they did, or raise UsageError or LoadError."""
        self._store, self._interruption = store, interruption
        self._add_note, self._change_rate, self._extend = add_note, change_rate, extend
        self._notes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="control", daemon=True)

    def __enter__(self) -> ControlWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            try:
                self._store.obey_wishes(self._obey)
            except OSError:  # the disk is full: whoever writes rows tells it, and wishes can wait
                continue

    def _obey(self, wish: Wish) -> Answer:
        try:
            return Answer(True, self._grant(wish))
        except (UsageError, LoadError) as error:
            return Answer(False, str(error))

    def _grant(self, wish: Wish) -> str:
        match wish:
            case StopRun():
                was_asked = self._interruption.is_requested
                self._interruption.ask(ExitCode.INTERRUPTED)
                what = "what was in flight is cut" if was_asked else "what is in flight may finish"
                return f"the run is stopping: {what}"
            case AddNote(text=text):
                if self._notes >= _MOST_NOTES:
                    raise UsageError(f"the run has {_MOST_NOTES} notes, which is all it takes")
                self._notes += 1
                self._add_note(_printable(text))
                return "noted"
            case SetRate(rate_per_s=rate_per_s):
                return self._change_rate(rate_per_s)
            case Extend(by_s=by_s):
                return self._extend(by_s)
            case _:
                assert_never(wish)


def _printable(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
