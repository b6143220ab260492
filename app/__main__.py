"""Entry point of the console script. This module is cheap to import, so that `sizewise --version`
responds immediately.

Ctrl-C is handled from the start of `main`. Only Python's startup and the `import re` of the
installed script run before `main`.
"""

from __future__ import annotations

import os
import signal
import sys

_GC_THRESHOLD = 50_000
"""Number of new objects that start a garbage collection. With Python's default of 700, collections
take a tenth of the CPU time in which a command imports its libraries."""

TYPE_CHECKING = False  # Not imported from typing, which takes longer to import than everything else before `main`.
if TYPE_CHECKING:
    from pathlib import Path


def main() -> int:
    """Run Sizewise and return its exit code."""
    signal.signal(signal.SIGINT, _exit)
    import gc

    gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
    _disable_core_dumps()
    from app.cli.signals import handle_signals
    from app.cli.streams import replace_missing_streams, replace_unencodable_characters

    replace_missing_streams()
    replace_unencodable_characters()
    handle_signals()
    from app.cli.main import main as run_command_line

    try:
        return run_command_line(sys.argv[1:], _open_window)
    finally:
        signal.signal(signal.SIGINT, _exit)  # Python prints a traceback if its own shutdown is interrupted.
        gc.freeze()  # The last collection, at exit, would take half a second to free what exits with the process.


def _disable_core_dumps() -> None:
    """Write no core dump if this process or one of its children crashes, because their memory contains
    the keys that are sent to targets."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _exit(_signal_number: int, _frame: object) -> None:
    os._exit(130)


def _open_window(paths: tuple[Path, ...]) -> int:
    from app.gui.main import open_window

    return open_window(paths)


if __name__ == "__main__":
    sys.exit(main())
