"""Common user mistakes: each has one error, a hint with the next step, and an exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.records.events import RunFinished
from app.storage.run_directory import RunWriter, runs_home
from loadgen.reference.script import Reply, Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.results import full_run

TARGET = "target: {protocol: http, url: 'http://127.0.0.1:1/'}\n"
LOAD = "load: {stages: [{rate: 5/s, duration: 1s}]}\n"
HEAD = "sizewise: 1\nname: a\n"
FILES = {
    "tab.yaml": f"{HEAD}target:\n  protocol: http\n  url: http://127.0.0.1:1/\n\tx: 1\n",
    "table.yaml": "a,b\n1,2\n",
    "empty.yaml": "",
    "broken.json": '{"sizewise": 1,\n "name": "a"\n "target": {"protocol": "http"}}\n',
    "secret.json": '{"sizewise": 1,\n "name": "a"\n "api_key": "canary"}\n',
    "no-workload.yaml": f"{HEAD}target: {{protocol: openai-chat, url: 'http://127.0.0.1:1/v1', model: m}}\n{LOAD}",
    "no-model.yaml": f"{HEAD}target: {{protocol: oip, url: 'http://127.0.0.1:1'}}\n{LOAD}",
    "no-version.yaml": f"name: a\n{TARGET}{LOAD}",
    "no-load.yaml": f"{HEAD}{TARGET}",
    "type.yaml": f"{HEAD}{TARGET}load: {{stages: 5}}\n",
    "whole.yaml": f"{HEAD}{TARGET}{LOAD}limits: 5\n",
    "curve.csv": "offered_per_s,latency_ms.p95\n20,61\n40,75\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files, five runs whose names start alike, and a run that stopped before it measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for number in range(5):
        with RunWriter(runs_home() / f"2026-{number}") as writer:
            writer.write_result(full_run().result)
    with RunWriter(runs_home() / "2027-unmeasured") as writer:
        writer.append_event(RunFinished(1, "UNAVAILABLE", 3, ("nobody is there",)))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ("run whole.yaml --durration 5s", "unknown option --durration", "Did you mean --duration"),
        ("rnu whole.yaml", "unknown command 'rnu'", "Did you mean run"),
        (
            "profiles check http://127.0.0.1:8000/",
            "neither a file nor",
            "To test a URL: `sizewise run http://…`",
        ),
        (
            "run 127.0.0.1:8000 --rate 20/s",
            "neither a file nor",
            "To test a URL: `sizewise run http://127.0.0.1:8000`.",
        ),
        ("run tab.yaml", "tab.yaml:6: the line is indented with a tab", "Use spaces instead of tabs."),
        ("run table.yaml", "table.yaml: not a profile: expected `key: value` lines", "Start with `sizewise: 1`."),
        ("run empty.yaml", "empty.yaml: not a profile: expected `key: value` lines", "Start with `sizewise: 1`."),
        ("run broken.json", "broken.json:3: did not find", 'The line is: "target": {"protocol": "http"}}'),
        ("run no-workload.yaml", "the profile is missing the key workload", "Add a line such as `workload: {prompts: "),
        ("run no-model.yaml", "target is missing the key model", "Add a line such as `model: my-model`."),
        ("run no-version.yaml", "the profile is missing the key sizewise", "Add a line such as `sizewise: 1`."),
        ("run no-load.yaml", "the profile is missing the key load", "Add a line such as `load: {stages: [{rate: 50/s"),
        ("run type.yaml", "load.stages must be a list, not 5", "Use a value such as `stages: [{name: steady, rate: "),
        ("offers import my-prices.csv", "my-prices.csv: no such file", "Check the path."),
        ("offers check my-prices.csv", "my-prices.csv: no such file", "Check the path."),
        ("report 2026", "'2026' is ambiguous: it matches 5 runs", "Use one of these: 2026-4, 2026-3, 2026-2, …."),
        ("report 2027", "this run stopped before measuring: nobody is there", "The last measured run is 2026-4."),
        (
            "plan curve.csv --slo 'p95 < 5ms' --set traffic.peak=9/s --set target.hardware.offer=aws/g6.xlarge",
            "met p95 latency < 5 ms; the best has p95 latency 61 ms at 20 req/s",
            "Measure at a lower load, or relax the SLO.",
        ),
    ],
)
def test_command_line_mistake_has_one_error_and_one_hint(
    folder: Path, command: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)) == ExitCode.USAGE
    output = capsys.readouterr()
    assert output.out == "", "an error is on standard error"
    error, _, advice = output.err.strip().partition("\n")
    assert error.startswith("error: ")
    assert message in error
    assert advice.startswith("hint: ")
    assert hint in advice


def test_profile_line_that_may_contain_a_secret_is_not_quoted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "secret.json"]) == ExitCode.USAGE
    output = capsys.readouterr().err
    assert "secret.json:3: did not find" in output
    assert "canary" not in output


@pytest.mark.process
@pytest.mark.parametrize(
    ("target", "workload"),
    [
        (
            "{protocol: openai-chat, url: 'URL/v1', model: m}",
            "workload: {prompts: {input_tokens: 9, output_tokens: 5}}\n",
        ),
        ("{protocol: oip, url: 'URL', model: m}", ""),
    ],
)
def test_run_with_the_wrong_protocol_ends_before_any_load(
    folder: Path, target: str, workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(Script(reply=Reply(body=b"ok"))) as server:
        text = f"{HEAD}target: {target}\n{workload}{LOAD}"
        (folder / "other.yaml").write_text(text.replace("URL", server.url))
        assert main(["run", "other.yaml", "--out", "out"]) == ExitCode.UNAVAILABLE
    assert len(server.requests) <= 2, "at most the requests of the preflight are sent"
    output = capsys.readouterr().err
    assert "cannot be measured" in output
    assert "hint: Check that target.protocol is the server's protocol" in output
