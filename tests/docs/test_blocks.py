"""The command blocks of README and docs, executed one after another in a copy of profiles/examples."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import ExitCode
from tests.fakes.pages import DOCS, EXAMPLES, PAGES, Block, blocks_of, name_of
from tests.fakes.program import SizewiseHere, wait_until

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200)]
PORTS = ("8000", "8021")
"""Ports on the pages; a test replaces them by free ones."""


class Reader:
    """A user who runs the commands of a page, with a folder, a home and background programs."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self._sizewise = SizewiseHere(home, folder)
        self._ports = {port: str(_free_port()) for port in PORTS}
        self._background: list[subprocess.Popen[str]] = []
        self._has_server = False
        for path in folder.iterdir():
            if path.suffix in (".yaml", ".py"):
                path.write_text(self._with_ports(path.read_text("utf-8")), "utf-8")

    def follow(self, block: Block) -> None:
        if block.title:
            (self.folder / block.title).write_text(self._with_ports(block.text), "utf-8")
        if not block.runs_here:
            return
        if first := block.orders.get("first"):
            self.run(first, block)
        if "server" in block.orders and not self._has_server:
            self.run("python3 server.py &", block)
        if block.language == "python":
            self._run_python(block.text)
            return
        for command in block.commands:
            self.run(command, block)

    def run(self, command: str, block: Block) -> None:
        line, _, target = self._with_ports(command).partition(" > ")
        if line.startswith("sizewise run"):
            line = f"{line} {self._with_ports(block.orders.get('with', ''))}"
        words = shlex.split(line.removesuffix("&"))
        if line.endswith("&") or "background" in block.orders:
            self._start(words)
            return
        exits = {int(code) for code in block.orders.get("exits", "0").split()}
        if line.startswith("sizewise run "):
            exits |= {ExitCode.INVALID, ExitCode.GATE_FAILED}  # as beside other tests, on a busy machine
        if words[0] == "sizewise":
            done = self._sizewise(*words[1:])
        else:
            words[0] = sys.executable if words[0] == "python3" else words[0]
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode in exits, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if target:
            (self.folder / target).write_text(self._with_ports(done.stdout), "utf-8")

    def leave(self) -> None:
        for process in self._background:
            process.kill()
            process.communicate()

    def _start(self, words: list[str]) -> None:
        """Start a background program, and wait until it listens at its port."""
        if words[0] == "sizewise":
            process, port = self._sizewise.start(*words[1:]), words[words.index("--port") + 1]
        else:
            self._has_server = True
            port = words[words.index("--port") + 1] if "--port" in words else self._ports["8000"]
            process = subprocess.Popen(
                [sys.executable, *words[1:]], cwd=self.folder, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._background.append(process)
        wait_until(lambda: process.poll() is not None or _listens(int(port)), within_s=300)
        assert process.poll() is None, process.communicate()

    def _run_python(self, text: str) -> None:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.chdir(self.folder)
            patch.setenv("SIZEWISE_HOME", str(self._sizewise.home))
            exec(compile(text, "a page", "exec"), {})

    def _with_ports(self, text: str) -> str:
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def reader(calibrated_home: Path, tmp_path: Path) -> Iterator[Reader]:
    home, folder = tmp_path / "home", tmp_path / "profiles" / "examples"
    shutil.copytree(calibrated_home, home)
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "profiles" / "models").symlink_to(EXAMPLES.parent / "models")
    shutil.copy(DOCS / "ci" / "benchmark.yaml", folder)
    page_reader = Reader(home, folder)
    yield page_reader
    page_reader.leave()


RUNNABLE = [page for page in PAGES if any(block.runs_here for block in blocks_of(page))]


@pytest.mark.parametrize(
    "page",
    [page if page.name == "README.md" else pytest.param(page, marks=pytest.mark.soak) for page in RUNNABLE],
    ids=name_of,
)
def test_commands_of_page_run_with_shown_exit_codes(reader: Reader, page: Path) -> None:
    for block in blocks_of(page):
        reader.follow(block)
