"""The console script. Importing this costs nothing, so that `sizewise --version` answers at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def main() -> int:
    """Returns the exit code of the design's table."""
    from app.cli.main import main as run_command_line

    return run_command_line(sys.argv[1:], _open_window)


def _open_window(paths: tuple[Path, ...]) -> int:
    from app.gui.main import open_window

    return open_window(paths)


if __name__ == "__main__":
    sys.exit(main())
