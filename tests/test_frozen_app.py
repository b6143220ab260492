"""The entry point of the frozen app runs commands and modules as a Python interpreter does."""

from __future__ import annotations

import sys

import pytest

from docs.packaging.frozen_app import main, restore_library_path, select_module
from loadgen.child import start_module


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        ([], ("app", ["gui"])),
        (["run", "a.yaml"], ("app", ["run", "a.yaml"])),
        (["-P", "-m", "loadgen.worker"], ("loadgen.worker", [])),
        (["-P", "-m", "app", "run", "a.yaml", "-m"], ("app", ["run", "a.yaml", "-m"])),
        (["-P", "-m"], ("app", ["-P", "-m"])),
        (["-P", "run"], ("app", ["-P", "run"])),
    ],
)
def test_arguments_select_window_command_or_module(arguments: list[str], selected: tuple[str, list[str]]) -> None:
    assert select_module(arguments) == selected


def test_module_runs_as_main_with_its_own_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizewise", "-P", "-m", "app", "--version"])
    monkeypatch.setattr("docs.packaging.frozen_app.runpy.run_module", _print_module)
    main()
    assert capsys.readouterr().out == "app __main__ ['--version']\n"


def _print_module(name: str, *, run_name: str, alter_sys: bool) -> None:
    assert alter_sys
    print(name, run_name, sys.argv[1:])


def test_child_processes_use_arguments_that_app_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("loadgen.child.subprocess.Popen", lambda command, **_: commands.append(command))
    start_module("loadgen.worker", "--join")
    assert commands[0][0] == sys.executable
    assert select_module(commands[0][1:]) == ("loadgen.worker", ["--join"])


def test_user_library_path_is_restored() -> None:
    environment = {"LD_LIBRARY_PATH": "/opt/sizewise/_internal", "LD_LIBRARY_PATH_ORIG": "/usr/local/cuda/lib64"}
    restore_library_path(environment)
    assert environment == {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}


def test_app_library_path_is_removed_if_user_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    environment = {"LD_LIBRARY_PATH": "/opt/sizewise/_internal"}
    restore_library_path(environment)
    assert environment == {}


def test_library_path_is_unchanged_without_pyinstaller() -> None:
    environment = {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}
    restore_library_path(environment)
    assert environment == {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}
