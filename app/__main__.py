"""The console script. Importing this costs nothing, so that `sizewise --version` answers at once."""

from __future__ import annotations

import sys


def main() -> int:
    """Returns the exit code of the design's table."""
    from app.cli.main import main as run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
