from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from loadgen.reference.scripted import Reply, Script, ScriptedServer

pytestmark = pytest.mark.process

PROFILE = """
sizewise: 1
name: mine
target: {{protocol: http, url: {url}}}
workload: {{body: 1}}
load: {{stages: [{{rate: 5/s, duration: 2s}}]}}
"""


def set_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_profile_from_standard_input_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(Script()) as server:
        set_standard_input(monkeypatch, PROFILE.format(url=server.url))
        assert main(["profiles", "try", "-"]) == 0
    out = capsys.readouterr().out
    assert f"target      {server.url} (http)" in out
    assert "status 200" in out
    assert "first byte" in out


def test_unauthorized_endpoint_is_unavailable_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(Script(reply=Reply(status=401))) as server:
        file = tmp_path / "mine.yaml"
        file.write_text(PROFILE.format(url=server.url))
        assert main(["profiles", "try", str(file), "--json"]) == ExitCode.UNAVAILABLE
    output = capsys.readouterr()
    assert json.loads(output.out)["problem"] == "unauthorized"
    assert "hint: Set a valid credential in target.headers" in output.err


def test_invalid_line_of_standard_input_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_standard_input(monkeypatch, PROFILE.format(url="http://127.0.0.1:1").replace("body", "bdy"))
    assert main(["profiles", "check", "-"]) == ExitCode.USAGE
    assert "standard input:5" in capsys.readouterr().err


def test_profile_check_reports_planned_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PROFILE.format(url="http://127.0.0.1:1"))
    assert main(["profiles", "check", str(file)]) == 0
    validity_line, work_line = capsys.readouterr().out.splitlines()
    assert validity_line.startswith(f"{file} is valid (mine, hash ")
    assert work_line.startswith("planned work: 1 stage; about 4.00")
    assert main(["profiles", "check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["work"]["requests"] == 10


def test_profile_check_reports_variants_that_cannot_run_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    call = [
        "profiles",
        "check",
        "local-model",
        "--this-machine",
        "--set",
        "target.precision=as-is",
        "--set",
        "target.batch=1",
    ]
    assert main([*call, "--set", "target.threads=[1, 1000]"]) == 0
    assert "digits cpu as-is, batch 1, 1000 threads cannot run here: " in capsys.readouterr().out
    assert main([*call, "--set", "target.threads=1000"]) == ExitCode.UNAVAILABLE
    assert main(["profiles", "check", "chat", "--this-machine"]) == ExitCode.USAGE
