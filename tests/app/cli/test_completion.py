from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli.main import main
from app.storage.run_directory import RunWriter
from tests.fakes.program import PATIENCE_S, SIZEWISE
from tests.fakes.results import run_without_load

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the shells are installed on Linux only"),
]
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='ready> '\nset +o history\n"),
    "zsh": (["zsh", "-f", "-i"], "PROMPT='ready> '\nautoload -U compinit\ncompinit -u -D\n"),
}

COMPLETIONS = {
    "sizewise quicks": "tart",
    "sizewise run --spawn": "-rate",
    "sizewise profiles show fraud-s": "coring",
    "sizewise report 2026": "1128-120000-chat",
    "sizewise report last --format mark": "down",
}
"""Text typed before the Tab key, and the completion that the shell adds."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An empty folder, where `sizewise` is a command and one run is stored."""
    home = tmp_path_factory.mktemp("home")
    with RunWriter(home / "runs" / "20261128-120000-chat") as writer:
        writer.write_result(run_without_load().result)
    return {
        "PATH": f"{Path(SIZEWISE).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "SIZEWISE_HOME": str(home),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def read_until(terminal: int, text: str) -> str:
    """Read what the shell shows until `text` appears in it."""
    output, deadline = "", time.monotonic() + PATIENCE_S
    while text not in output:
        assert time.monotonic() < deadline, output
        if select.select([terminal], [], [], 0.1)[0]:
            output += os.read(terminal, 65536).decode(errors="replace")
    return output


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_key_completes_words(shell: str, environment: dict[str, str]) -> None:
    command, setup = SHELLS[shell]
    assert shutil.which(shell), f"{shell} is not installed: run tests/install-system-libraries"
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.chdir(environment["HOME"])
        os.execvpe(command[0], command, environment)
    try:
        os.write(terminal, f'{setup}eval "$(sizewise completion {shell})"\necho go""ne on\n'.encode())
        read_until(terminal, "gone on")
        for typed, completed in COMPLETIONS.items():
            os.write(terminal, f"{typed}\t".encode())
            read_until(terminal, completed)
            os.write(terminal, b"\x15")  # empties the line
    finally:
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
        os.close(terminal)


def test_fish_completes_words(environment: dict[str, str]) -> None:
    lines = ("sizewise quicks", "sizewise report 2026")
    script = "; ".join(["sizewise completion fish | source", *(f"complete --do-complete '{line}'" for line in lines)])
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stderr == ""
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["quickstart", "20261128-120000-chat"]


def test_completion_for_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
