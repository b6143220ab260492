"""The command blocks of README and docs, executed one after another in a copy of profiles/examples."""

from __future__ import annotations

import contextlib
import io
import math
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
from tests.fakes.program import SizewiseInProcess, wait_until

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200)]
_SMALLEST = 1e-9
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
PORTS = ("8000", "8021")
"""Ports on the pages; a test replaces them by free ones."""


class Reader:
    """A user who runs the commands of a page, with a folder, a home and background programs."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self._sizewise = SizewiseInProcess(home, folder)
        self._ports = {port: str(_free_port()) for port in PORTS}
        self._background: list[subprocess.Popen[str]] = []
        self._has_server = False
        self._printed: list[str] = []
        """Output of each command, from the last one with which a `printed` block was compared."""
        for path in folder.iterdir():
            if path.suffix in (".yaml", ".py"):
                path.write_text(self._with_ports(path.read_text("utf-8")), "utf-8")

    def follow(self, block: Block) -> None:
        if block.title:
            (self.folder / block.title).write_text(self._with_ports(block.text), "utf-8")
        if "printed" in block.orders:
            limit = re.fullmatch(r"within (\d+) %", block.orders["printed"])
            tolerance = float(limit[1]) / 100 if limit else math.inf
            mismatches = [explain_mismatch(block.text, printed, tolerance) for printed in self._printed]
            assert None in mismatches, f"no command printed\n{block.text}but\n" + "\n".join(map(str, mismatches))
            del self._printed[: mismatches.index(None)]
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
        self._printed.append(done.stdout)
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


def explain_mismatch(text: str, printed: str, tolerance: float) -> str | None:
    """Return why `printed` does not contain each paragraph of `text` with numbers that differ by at most the relative
    tolerance; `None` if it does. Line breaks and widths of columns may differ."""
    output = " ".join(printed.split())
    for paragraph in text.strip().split("\n\n"):
        words = " ".join(paragraph.split())
        pattern = _NUMBER.pattern.join(re.escape(part) for part in _NUMBER.split(words))
        match = re.search(pattern, output)
        if match is None:
            return f"there is no {pattern} in {output[-4000:]}"
        pairs = zip(
            *([float(number.replace(",", "")) for number in _NUMBER.findall(part)] for part in (words, match[0])),
            strict=True,
        )
        if any(abs(value - shown) > tolerance * max(shown, _SMALLEST) for shown, value in pairs):
            return f"the numbers differ: {match[0]}"
    return None


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


@pytest.mark.parametrize(
    ("printed", "tolerance", "is_same"),
    [
        ("Notes  the prompts\n  offer 71.4 %; it reports 1,800", 0.0, True),
        ("Notes  the prompts\n  offer 77.4 %; it reports 1,800", 0.05, False),
        ("Notes  the prompts\n  offer 71.4 %; it reports 1,900", 0.05, False),
        ("Notes  the prompts\n  offer 71.4 %; it reports 1,900", 0.06, True),
        ("Notes  the prompts\n  have 71.4 %; it reports 1,800", 0.0, False),
    ],
)
def test_printed_output_matches_page_within_tolerance(printed: str, tolerance: float, is_same: bool) -> None:
    text = "the prompts offer 71.4 %;\n  it reports 1,800\n"
    assert (explain_mismatch(text, printed, tolerance) is None) == is_same


RUNNABLE = [page for page in PAGES if any(block.runs_here for block in blocks_of(page))]


@pytest.mark.parametrize(
    "page",
    [page if page.name == "README.md" else pytest.param(page, marks=pytest.mark.soak) for page in RUNNABLE],
    ids=name_of,
)
def test_commands_of_page_run_as_shown(reader: Reader, page: Path) -> None:
    for block in blocks_of(page):
        reader.follow(block)
