"""Target servers of the benchmarks, on their own core if there are two."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadgen.child import start_module
from loadgen.reference.scripted import Script, ScriptedServer

SERVER_CORE, CLIENT_CORE = 0, 1
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{{}}'; }} }}
}}
"""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run children that are started in this context on that core only, or anywhere with a single core."""
    cores = os.sched_getaffinity(0)
    if core in cores and len(cores) > 1:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def null_server() -> Iterator[str]:
    with _child("loadgen.reference.null") as url:
        yield url


@contextlib.contextmanager
def logging_server(log: Path) -> Iterator[str]:
    """A scripted server that responds at once; when it exits, it writes the receive times in ns to `log`."""
    with _child("loadgen.reference.scripted", "--log", str(log)) as url:
        yield url


@contextlib.contextmanager
def scripted_server(script: Script) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.json"
        path.write_bytes(msgspec.json.encode(script))
        with _child("loadgen.reference.scripted", "--script", str(path)) as url:
            yield url


@contextlib.contextmanager
def _child(module: str, *args: str) -> Iterator[str]:
    with on_core(SERVER_CORE):
        child = start_module(module, *args, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        child.stdin.close()


@contextlib.contextmanager
def nginx(executable: str) -> Iterator[str]:
    with ScriptedServer(Script()) as once:
        port = once.port  # free again in a moment
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port))
        with on_core(SERVER_CORE):
            child = subprocess.Popen([executable, "-c", str(config), "-p", folder], stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.wait(10)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
