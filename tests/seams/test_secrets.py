"""Secrets from thirteen places are in no file and no output of a run."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.gui.engine.launch import ENGINE_LOG, start_engine
from app.gui.navigation import Launch
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes.http_proxy import HttpProxy
from tests.fakes.program import FAKE_RENDERER_FOLDER, Sizewise, SizewiseInProcess, wait_until

pytestmark = pytest.mark.process

CANARIES = {
    kind: f"canary{kind.replace(' ', '')}7f3a91"
    for kind in (
        "header", "cookie", "URL user", "query", "environment", "proxy", "prompt", "error body", "crash dump",
        "clipboard command", "profile", "log", "request body",
    )
}  # fmt: skip
_PROFILE = """sizewise: 1
name: secrets
target:
  protocol: http
  url: http://model.invalid:{port}/score
  permitted: true
  timeouts: {{connect: 1s, idle: 1s, total: 1s}}
  headers: {{X-Api-Key: "env:HEADER_SECRET", Cookie: "file:cookie.txt", X-Other: "{profile}"}}
workload: {{dataset: prompts.jsonl, template: {{prompt: "{{{{question}}}}", api_key: "{body}"}}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: 50/s, duration: 1s}}]
slo: ["latency_ms.p95 < 500"]
"""


def _write_profile(folder: Path, port: int) -> str:
    (folder / "cookie.txt").write_text(f"session={CANARIES['cookie']}\n")
    (folder / "prompts.jsonl").write_text(f'{{"question": "tell {CANARIES["prompt"]}"}}\n')
    profile = folder / "profile.yaml"
    profile.write_text(_PROFILE.format(port=port, profile=CANARIES["profile"], body=CANARIES["request body"]))
    return str(profile)


def _environment(proxy: int) -> dict[str, str]:
    return {
        "HEADER_SECRET": CANARIES["header"],
        "UNRELATED_API_KEY": CANARIES["environment"],
        "http_proxy": f"http://me:{CANARIES['proxy']}@127.0.0.1:{proxy}",
        "no_proxy": "",
        "SIZEWISE_ALLOW_SECRETS": "model.invalid",
    }


def _unpacked(path: Path) -> bytes:
    """The content of a file, with its compressed parts decompressed."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        content += str(pq.read_table(path).to_pydict()).encode()
    for block in re.findall(rb'data-file="[^"]*">([^<]*)<', content) if path.suffix == ".html" else ():
        content += zlib.decompress(base64.b64decode(block))
    return content


def _list_encodings(canary: str) -> list[bytes]:
    """The canary as it is, and as part of HTTP basic credentials."""
    return [canary.encode(), base64.b64encode(f"me:{canary}".encode()), base64.b64encode(canary.encode())]


def _launch(arguments: tuple[str, ...], directory: Path, home: Path, environment: dict[str, str]) -> None:
    """Run to the end as the window starts a run, without charts, which would be those of the first run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            environment | {"SIZEWISE_HOME": str(home), "PYTHONPATH": str(FAKE_RENDERER_FOLDER)}
        ).items():
            patch.setenv(name, value)
        engine = start_engine(Launch(arguments, directory, "secrets"))
    wait_until(lambda: engine.poll() is not None)


@pytest.fixture(scope="module")
def artifacts(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All files and output of a run, its rendered reports and its listing; the target's responses are errors
    that contain canaries."""
    folder = tmp_path_factory.mktemp("secrets")
    run = folder / "run"
    failing = Reply(500, f'{{"error": "{CANARIES["error body"]} {CANARIES["log"]}"}}'.encode())
    with ScriptedServer(Script(reply=failing)) as server, HttpProxy(f"me:{CANARIES['proxy']}") as proxy:
        sizewise, here = Sizewise(calibrated_home, folder, draws=False), SizewiseInProcess(calibrated_home, folder)
        environment = _environment(proxy.port)
        profile = _write_profile(folder, server.port)
        override = f"target.headers.X-Set={CANARIES['clipboard command']}"
        processes = [
            sizewise("run", profile, "--set", override, "--out", str(run), "--debug", **environment),
            here("run", profile, "--set", override, "--out", str(folder / "mirrored"), "--events", "-", **environment),
            here("report", str(run), **environment),
            here("report", str(run), "--format", "json", **environment),
            here("report", str(run), "--format", "text", **environment),
            here("runs", "show", str(run), **environment),
        ]
        _launch(("run", profile, "--set", override), folder / "launched", sizewise.home, environment)
        heads = b"".join(proxy.heads)
    for kind in ("header", "cookie", "profile", "clipboard command"):
        assert CANARIES[kind].encode() in heads, f"the {kind}'s secret was not sent, so that its absence proves nothing"
    contents = {str(path.relative_to(folder)): _unpacked(path) for path in folder.glob("*/**/*") if path.is_file()}
    contents |= {
        f"output of {' '.join(process.args[1:3])}": (process.stdout + process.stderr).encode() for process in processes
    }
    return contents


def test_run_writes_all_kinds_of_files(artifacts: dict[str, bytes]) -> None:
    names = {Path(name).name for name in artifacts}
    assert {
        "spec.yaml", "environment.json", "events.jsonl", "requests.arrow", "telemetry.arrow", "result.json",
        "report.json", "report.html", "report-requests.parquet", "report-stages.csv", "report-timeline.csv",
    } <= names  # fmt: skip
    assert b"http-5xx" in artifacts["run/result.json"]
    assert b"http-5xx" in artifacts["launched/result.json"]
    assert b"steady" in artifacts[f"launched/{ENGINE_LOG}"]


@pytest.mark.parametrize("kind", CANARIES)
def test_secrets_are_in_no_file_or_output_of_run(kind: str, artifacts: dict[str, bytes]) -> None:
    leaks = [
        name
        for name, content in artifacts.items()
        for encoding in _list_encodings(CANARIES[kind])
        if encoding in content
    ]
    assert leaks == []


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    ("kind", "override"),
    [
        ("URL user", "target.url=http://me:{}@127.0.0.1:9/"),
        ("query", "target.url=http://127.0.0.1:9/?api_key={}"),
        ("query", "target.url=http://127.0.0.1:9/?pass={}"),
        ("query", "target.url=http://127.0.0.1:9/?pat={}"),
        ("profile", "target.headers.X-Other=[{}]"),
        ("log", "target.headers.X-Other={}\\u0001"),
    ],
)
def test_refused_secret_is_not_repeated_in_errors(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path, kind: str, override: str, debug: tuple[str, ...]
) -> None:
    profile = _write_profile(tmp_path, 9)
    override = override.format(CANARIES[kind])
    done = sizewise_in_process("run", profile, "--set", override, "--out", str(tmp_path / "run"), *debug)
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    written = b"".join(_unpacked(path) for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert [
        encoding
        for encoding in _list_encodings(CANARIES[kind])
        if encoding in (done.stdout + done.stderr).encode() + written
    ] == []


def test_crashed_server_output_has_no_secret_of_its_environment(sizewise: Sizewise, tmp_path: Path) -> None:
    """The server's last output is shown as the cause, without the secrets of its environment."""
    (tmp_path / "server.py").write_text(
        "import os, sys\n"
        "sys.stderr.write('cannot load ' + os.environ['MODEL'] + '\\n')\n"
        "os.abort()\n"
    )  # fmt: skip
    path = tmp_path / "profile.yaml"
    path.write_text(
        "sizewise: 1\nname: crash\ntarget:\n  protocol: http\n  url: http://127.0.0.1:9/\n"
        "  start: {command: python server.py, ready: /health, timeout: 10s, env: {MODEL: big, TOKEN: 'env:TOKEN'}}\n"
        "workload: {body: {a: 1}}\nload: {stages: [{rate: 5/s, duration: 1s}]}\n"
    )
    process = sizewise.start(
        "run", str(path), "--out", str(tmp_path / "run"), "--debug", TOKEN=CANARIES["crash dump"],
        PYTHONFAULTHANDLER="1",
    )  # fmt: skip
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert "cannot load big" in stderr
    written = b"".join(_unpacked(path) for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert CANARIES["crash dump"] not in stdout + stderr
    assert CANARIES["crash dump"].encode() not in written
