"""The entry point of the frozen app, an executable that contains its own Python interpreter.

Without arguments, the app opens the window; with arguments, it is the `sizewise` command. Sizewise
starts its child processes with `sys.executable -P -m MODULE`, and the executable of a frozen app is
the app itself, so the app also accepts these arguments of an interpreter.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import MutableMapping

_INTERPRETER_OPTIONS = ["-P", "-m"]


def main() -> None:
    """Open the window, run a command, or run the module of a child process."""
    restore_library_path(os.environ)
    module, sys.argv[1:] = select_module(sys.argv[1:])
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def select_module(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the module to run and its arguments."""
    if arguments[:2] == _INTERPRETER_OPTIONS and len(arguments) > 2:
        return arguments[2], arguments[3:]
    return "app", arguments or ["gui"]


def restore_library_path(environment: MutableMapping[str, str]) -> None:
    """Restore the user's search path for shared libraries, which PyInstaller replaces by the folder
    of the app.

    The libraries of the app itself are found all the same. A program that the app starts, such as
    the target's own server, must not load them.
    """
    original = environment.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is not None:
        environment["LD_LIBRARY_PATH"] = original
    elif getattr(sys, "frozen", False):
        environment.pop("LD_LIBRARY_PATH", None)


if __name__ == "__main__":
    main()
