"""Commands and load workers in processes of their own, forked from one that has imported the program.

Its import takes longer than all else that a short command or a load worker does. Only Python's startup and the import
differ from the real process: arguments, environment, streams, signals, children and exit are those of a process.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import types
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from app.inference.probe import ProviderProbe, probe_providers
from loadgen import child

IMPORTED = (
    "app.profiles.locust",
    "app.wiring",
    "loadgen.process",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "reports",
)
"""Modules that commands import besides those of `app.cli`; a package means all modules directly in it."""
FORKED_MODULES = frozenset({"app", "loadgen.master", "loadgen.reference.scripted", "loadgen.worker"})
"""Modules whose processes, which windows, engines and tests start, are forked, too."""
_CHILDLESS = frozenset({"loadgen.reference.scripted", "loadgen.worker"})
_IMPORTED_BY_MODULES = (
    "loadgen.worker.engine_worker",
    "loadgen.worker.master_worker",
    "loadgen.master.controller",
    "loadgen.reference.scripted",
)
NAMESPACES = "FORKED_NAMESPACES"
"""Variable of a command's environment: the folder of the namespaces of the host that it and its children run on."""
_MAX_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36


@cache
def probe_once() -> ProviderProbe:
    """Return the execution providers of this machine, which each command tries in a child process."""
    return probe_providers()


class Command(msgspec.Struct, frozen=True):
    module: str | None
    """The module that is run as a program; `None` for the program itself."""
    arguments: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    limits: dict[int, tuple[int, int]]
    """Resource limits, which a process inherits."""
    has_own_session: bool
    has_forked_children: bool
    """Whether the process is to fork its own children as this process does."""


def _read_limits() -> dict[int, tuple[int, int]]:
    import resource

    kinds = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {kind: resource.getrlimit(kind) for kind in kinds}


class ForkedProcess(subprocess.Popen[Any]):
    """Process that the importer forks, and that becomes a child of this process."""

    def _execute_child(
        self, args: list[str], executable: Any, preexec_fn: Any, close_fds: bool, pass_fds: Any, cwd: Path | None,
        env: dict[str, str] | None, startupinfo: Any, creationflags: Any, shell: bool, p2cread: int, p2cwrite: int,
        c2pread: int, c2pwrite: int, errread: int, errwrite: int, restore_signals: bool, gid: Any, gids: Any, uid: Any,
        umask: Any, start_new_session: bool, *_: Any,
    ) -> None:  # fmt: skip
        sys.audit("subprocess.Popen", args[0], args, cwd and str(cwd), env)
        module, arguments = _split(args)
        command = Command(
            module,
            arguments,
            str(cwd or Path.cwd()),
            dict(os.environ if env is None else env),
            _read_limits(),
            start_new_session,
            vars(child)["subprocess"] is not subprocess,
        )
        streams = tuple(
            number if passed_descriptor == -1 else passed_descriptor
            for number, passed_descriptor in enumerate((p2cread, c2pwrite, errwrite))
        )
        try:
            self.pid = _get_importer().fork(command, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


class ForkedModule(ForkedProcess):
    """Process of `python -P -m MODULE`, forked if the importer has imported the module."""

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        is_forked = _split(args)[0] in FORKED_MODULES and not any(name.startswith("LD_") for name in os.environ)
        real: Any = super(ForkedProcess, self)
        execute_child = super()._execute_child if is_forked else real._execute_child
        execute_child(args, *rest)


def _split(args: list[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the module that `python -P -m MODULE` runs, if these are its arguments, and the arguments behind it."""
    is_module = args[:3] == [sys.executable, "-P", "-m"]
    return (args[3], tuple(args[4:])) if is_module else (None, tuple(args[1:]))


def forking(module: types.ModuleType) -> types.ModuleType:
    """Return `subprocess` as the module is to see it: its processes are forked if they can be."""
    if sys.platform != "linux":
        return subprocess
    replacement = types.ModuleType(module.subprocess.__name__)
    vars(replacement).update(vars(subprocess), Popen=ForkedModule)
    return replacement


class Importer:
    """Process that has imported the program. It ends with this process, which holds the other end of its socket."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self._connection, self._lock = connection, threading.Lock()

    def close(self) -> None:
        self._connection.close()

    def fork(self, command: Command, descriptors: tuple[int, ...]) -> int:
        """Return the process id of the command, which is a child of this process: the process between them has exited,
        and this process has adopted what it left."""
        with self._lock:
            _set_subreaper(is_on=True)
            try:
                socket.send_fds(self._connection, [msgspec.msgpack.encode(command)], descriptors)
                reply = self._connection.recv(_MAX_BYTES)
            finally:
                _set_subreaper(is_on=False)
        assert reply, "the process that imports the program has exited"
        return int(reply)


_importers: list[Importer] = []
"""The importer of this process, once it has one."""
_starting = threading.Lock()


def importer_pids() -> set[int]:
    """Return the process id of the importer of this process, if it has one."""
    return {importer.pid for importer in _importers}


def _get_importer() -> Importer:
    with _starting:
        if not _importers:
            _importers.append(_start_importer())
    return _importers[0]


def _start_importer() -> Importer:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.DEVNULL,
        )
    importer = Importer(ours, process.pid)
    atexit.register(process.wait, 10)
    atexit.register(importer.close)
    return importer


def _set_subreaper(*, is_on: bool) -> None:
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0) == 0


def _import_program() -> None:
    import app.cli

    os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"  # as load workers and their master set it before they import Locust
    names = ["app.__main__", *(f"app.cli.{module.name}" for module in pkgutil.iter_modules(app.cli.__path__))]
    for name in IMPORTED:
        imported = importlib.import_module(name)
        names += [f"{name}.{module.name}" for module in pkgutil.iter_modules(getattr(imported, "__path__", []))]
    for name in (*names, *_IMPORTED_BY_MODULES):
        importlib.import_module(name)
    del sys.modules["loadgen.reference.scripted"]  # because it is to run as a program
    mock.patch("app.wiring.machine.probe_providers", probe_once).start()
    probe_once()
    from reports.html import _build_environment

    templates = _build_environment()
    for name in templates.list_templates(["html"]):
        templates.get_template(name)


def _serve(connection: socket.socket) -> int:
    """Fork for each command that is received, and return in the fork with the exit code of its command. This process
    exits when the other end is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _MAX_BYTES, 3)
        if not message:
            os._exit(0)
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
    if command.has_own_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.cwd)
    if namespaces := command.environment.get(NAMESPACES):
        _enter_host(Path(namespaces))
    import resource

    for kind, limits in command.limits.items():
        resource.setrlimit(kind, limits)
    if command.has_forked_children and command.module not in _CHILDLESS:
        _fork_importer_of_command()
        mock.patch("loadgen.child.subprocess", forking(child)).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if command.module not in (None, "app"):
        sys.argv = [command.module, *command.arguments]
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)
        return 0
    sys.argv = ["sizewise", *command.arguments]
    from app.__main__ import main

    return main()


def _enter_host(namespaces: Path) -> None:
    for kind in ("uts", "net", "time"):
        with (namespaces / kind).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), file.name)


def _fork_importer_of_command() -> None:
    """Fork the process that forks the children of the command that this process is about to run: only a descendant of
    a process can leave it a child. It ends with this process."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        sys.exit(_serve(theirs))
    theirs.close()
    _importers.append(Importer(ours, pid))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_program()
    gc.freeze()
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
