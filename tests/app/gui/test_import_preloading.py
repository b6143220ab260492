from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

import app.gui.main
from app.gui.background import queue_work, release_work, submit
from app.gui.import_preloading import ImportPreloader, load_modules
from tests.fakes.stored_runs import stored_run

_GUI = Path(app.gui.main.__file__).parent
_ONE_THREAD_AT_A_TIME = "app.planning.simulation.precompile"
"""Imported under the lock of planning_tasks only."""
_PROBE = """
import sys
from datetime import UTC, datetime
from app.gui.docks.machine_watch import _check_machine
from app.gui.home.presenter import read_recent_runs
from app.gui.import_preloading import BACKGROUND_MODULES, STARTUP_MODULES, load_modules
from app.gui.launching import _find_pairs_to_show
from app.gui.recovery import _find_unfinished_runs
import app.gui.assembly
heavy = {"altair", "loadgen.records", "numba", "numpy", "onnxruntime", "pandas", "pyarrow", "scipy"}
print("before the first paint:", *sorted(heavy & set(sys.modules)))
load_modules(*STARTUP_MODULES)
loaded = set(sys.modules)
for work in (_find_unfinished_runs, _find_pairs_to_show, lambda: read_recent_runs(datetime.now(UTC)), _check_machine):
    work()
own = ("app", "loadgen", "pandas", "pyarrow", "reports", "scipy")
print("at start:", *sorted(name for name in set(sys.modules) - loaded if name.split(".")[0] in own))
load_modules(*BACKGROUND_MODULES)
print("later:", *sorted(set(sys.argv[1:]) - set(sys.modules)))
"""


@pytest.fixture
def work_on_hold() -> Iterator[None]:
    queue_work()
    yield
    release_work()


def list_imports_in_functions() -> Iterator[str]:
    """Yield the modules that functions of the window import."""
    for path in _GUI.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    yield node.module
                elif isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)


def test_modules_of_the_first_run_are_preloaded(qtbot: QtBot) -> None:
    owner = QObject()
    preloader = ImportPreloader(owner)
    qtbot.waitUntil(lambda: "app.gui.run.page" in sys.modules and not preloader.is_busy, timeout=30_000)
    assert {"pyqtgraph", "pandas", "app.gui.live.body"} <= set(sys.modules)


def test_background_work_waits_for_preloading_unless_waiting_is_disabled(qtbot: QtBot, work_on_hold: None) -> None:
    owner, results = QObject(), list[str]()
    submit(owner, lambda: "work", results.append, lambda error: results.append(str(error)))
    submit(owner, lambda: "imports", results.append, lambda error: results.append(str(error)), may_wait=False)
    qtbot.waitUntil(lambda: bool(results))
    assert results == ["imports"]
    ImportPreloader(owner)
    qtbot.waitUntil(lambda: len(results) == 2, timeout=30_000)


def test_background_work_submitted_while_the_window_is_built_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[str] = []

    def prepare() -> None:
        submit(owner, lambda: results.append("ran"), print, print)
        raise InterruptedError

    owner = QObject()
    monkeypatch.setattr(app.gui.main, "prepare", prepare)
    try:
        with pytest.raises(InterruptedError):
            app.gui.main.open_window(())
        threading.Event().wait(0.1)
        assert results == []
    finally:
        release_work()


def test_two_threads_importing_a_cycle_get_fully_loaded_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock, each thread has one module of the cycle when it imports the other one."""
    for name, other in (("cycle_a", "cycle_b"), ("cycle_b", "cycle_a")):
        (tmp_path / f"{name}.py").write_text(
            f"import time\ntime.sleep(0.1)\nimport {other}\n"
            f"def is_loaded(): return {other}.DONE\nfrom {other} import __name__ as _\nDONE = True\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    failures: list[BaseException] = []

    def load(name: str) -> None:
        try:
            (module,) = load_modules(name)
            assert module.DONE
            assert module.is_loaded()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load, args=(name,)) for name in ("cycle_a", "cycle_b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


@pytest.mark.process
def test_heavy_modules_load_after_the_first_paint_and_before_background_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "runs").mkdir(parents=True)
    stored_run(home / "runs" / "20261120-run")
    modules = {name for name in list_imports_in_functions() if name.split(".")[0] not in sys.stdlib_module_names}
    others = {name for name in modules if not name.startswith(("app.gui", "PySide6"))} - {_ONE_THREAD_AT_A_TIME}
    assert len(others) > 30
    process = subprocess.run([sys.executable, "-c", _PROBE, *others], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines() == ["before the first paint:", "at start:", "later:"]
