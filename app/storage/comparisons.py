"""Store an A/B comparison that measures two profiles in interleaved pairs of runs. The runs
themselves are stored like all other runs.

The directory of a comparison contains an events file (`events.jsonl`) and a control folder like the
directory of a run, so that a comparison can be found, followed and stopped in the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from app.errors import UsageError
from app.records.comparison import Comparison
from app.records.control import ControlCommand, ControlResponse
from app.records.events import Event
from app.storage.control import CommandInbox
from app.storage.run_directory import EVENTS, runs_home, write_atomically
from app.storage.run_states import find_run_state
from app.storage.unbuffered_file import UnbufferedFile

COMPARISON = "comparison.json"
_MAX_COMPARISONS = 20


def comparisons_home() -> Path:
    """Return the comparisons folder, which is next to the runs folder."""
    return runs_home().parent / "comparisons"


def find_running_comparisons() -> tuple[Path, ...]:
    """Return the directories of the comparisons that are still running, newest first."""
    home = comparisons_home()
    if not home.is_dir():
        return ()
    newest_directories = sorted((path for path in home.iterdir() if (path / EVENTS).is_file()), reverse=True)[
        :_MAX_COMPARISONS
    ]
    return tuple(path for path in newest_directories if _is_running(path))


class ComparisonWriter:
    """Writer for the data of one comparison. Events and commands may come from different
    threads."""

    def __init__(self, directory: Path) -> None:
        """Create the comparison. Raises UsageError if the directory already contains a comparison
        or cannot be created."""
        hint = "Choose another directory with --record."
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if (directory / EVENTS).exists():
                raise UsageError(f"{directory} already contains a comparison", hint=hint)
            self._events = UnbufferedFile(directory / EVENTS)
            self._control = CommandInbox(directory)
        except OSError as error:
            raise UsageError(f"a comparison cannot be written to {directory}: {error.strerror}", hint=hint) from None
        self.directory = directory
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()

    def append_event(self, event: Event) -> None:
        with self._lock:
            self._events.write(self._encode(event) + b"\n")

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        self._control.process(handle)

    def write_comparison(self, comparison: Comparison) -> None:
        write_atomically(self.directory / COMPARISON, msgspec.json.format(self._encode(comparison), indent=2))

    def close(self) -> None:
        self._control.close()
        self._events.close()

    def __enter__(self) -> ComparisonWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _is_running(directory: Path) -> bool:
    try:
        return find_run_state(directory) == "running"
    except OSError:  # the comparison was deleted meanwhile or belongs to another user
        return False
