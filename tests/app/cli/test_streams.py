from __future__ import annotations

import subprocess
import sys

import pytest

LIST_PROFILES = "import sys; from app.__main__ import main; sys.argv[1:] = ['profiles', 'list']; sys.exit(main())"
USE_ALL_STREAMS = """
import os, sys
from app.cli.streams import replace_missing_streams
replace_missing_streams()
sys.stdin.read()
for stream in (sys.stdout, sys.stderr):
    print(stream.isatty(), file=stream, flush=True)
assert [os.get_inheritable(number) for number in (0, 1, 2)] == [True] * 3
sys.exit(7)
"""


def run_without(streams: str, code: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" "$@" {streams}', sys.executable, "-c", code]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_command_succeeds_without_a_standard_output() -> None:
    done = run_without(">&-", LIST_PROFILES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed_can_be_used(closed: str) -> None:
    done = run_without(closed, USE_ALL_STREAMS)
    assert done.returncode == 7, done.stderr
