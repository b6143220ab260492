"""Commands in processes of their own, forked from one that has imported the program.

Its import takes longer than all else that a short command does. Only Python's startup and the import differ from the
console script: arguments, environment, streams, signals, children and exit are those of a process.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from app.inference.probe import ProviderProbe, probe_providers

IMPORTED = (
    "app.profiles.locust",
    "app.wiring",
    "loadgen.process",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "reports",
)
"""Modules that commands import besides those of `app.cli`; a package means all modules directly in it."""
_MAX_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36


@cache
def probe_once() -> ProviderProbe:
    """Return the execution providers of this machine, which each command tries in a child process."""
    return probe_providers()


class Command(msgspec.Struct, frozen=True):
    arguments: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    limits: dict[int, tuple[int, int]]
    """Resource limits, which a process inherits."""


def _read_limits() -> dict[int, tuple[int, int]]:
    import resource

    kinds = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {kind: resource.getrlimit(kind) for kind in kinds}


class ForkedProcess(subprocess.Popen[str]):
    """Process that the importer forks, and that becomes a child of this process."""

    def _execute_child(
        self, args: list[str], executable: Any, preexec_fn: Any, close_fds: bool, pass_fds: Any, cwd: Path,
        env: dict[str, str], startupinfo: Any, creationflags: Any, shell: bool, p2cread: int, p2cwrite: int,
        c2pread: int, c2pwrite: int, errread: int, errwrite: int, *_: Any,
    ) -> None:  # fmt: skip
        sys.audit("subprocess.Popen", args[0], args, str(cwd), env)
        try:
            command = Command(tuple(args[1:]), str(cwd), env, _read_limits())
            self.pid = _start_importer().fork(command, (0, c2pwrite, errwrite))
            self._child_created = True
        finally:
            for descriptor in (c2pwrite, errwrite):
                os.close(descriptor)


class Importer:
    """Process that has imported the program. It ends with this process, which holds the other end of its socket."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._connection.close()
        self.process.wait(10)

    def fork(self, command: Command, descriptors: tuple[int, ...]) -> int:
        """Return the process id of the command, which is a child of this process: the process between them has exited,
        and this process has adopted what it left."""
        _set_subreaper(is_on=True)
        try:
            socket.send_fds(self._connection, [msgspec.msgpack.encode(command)], descriptors)
            reply = self._connection.recv(_MAX_BYTES)
        finally:
            _set_subreaper(is_on=False)
        assert reply, f"the process that imports the program exited with code {self.process.poll()}"
        return int(reply)


@cache
def _start_importer() -> Importer:
    return Importer()


def _set_subreaper(*, is_on: bool) -> None:
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0) == 0


def _import_program() -> None:
    import app.cli

    names = ["app.__main__", *(f"app.cli.{module.name}" for module in pkgutil.iter_modules(app.cli.__path__))]
    for name in IMPORTED:
        found = importlib.import_module(name)
        names += [f"{name}.{module.name}" for module in pkgutil.iter_modules(getattr(found, "__path__", []))]
    for name in names:
        importlib.import_module(name)
    mock.patch("app.wiring.machine.probe_providers", probe_once).start()
    probe_once()
    from reports.html import _build_environment

    templates = _build_environment()
    for name in templates.list_templates(["html"]):
        templates.get_template(name)


def _serve(connection: socket.socket) -> int:
    """Fork for each command that is received, and return in the fork with the exit code of its command; return 0 in
    this process when the other end is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _MAX_BYTES, 3)
        if not message:
            return 0
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                connection.close()
                return _run(msgspec.msgpack.decode(message, type=Command), descriptors)
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        connection.sendall(os.read(reading, 32))
        for descriptor in (reading, writing, *descriptors):
            os.close(descriptor)


def _run(command: Command, descriptors: list[int]) -> int:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.cwd)
    import resource

    for kind, limits in command.limits.items():
        resource.setrlimit(kind, limits)
    sys.argv = ["sizewise", *command.arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from app.__main__ import main

    return main()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_program()
    gc.freeze()
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
