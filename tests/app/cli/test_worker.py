from __future__ import annotations

import pytest

from app.cli.main import main
from app.errors import ExitCode

MASTER = ["--master", "127.0.0.1:5557"]


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (["--master", "10.0.0.1"], "--master '10.0.0.1' has no port"),
        ([*MASTER, "--token", "canary-canary"], "a reference to the token"),
        ([*MASTER, "--token", "env:SHORT"], "at least 16"),
        ([*MASTER], "SIZEWISE_TOKEN is not set"),
        ([*MASTER, "--token", "env:SOME", "--wait", "60"], "--wait: '60' is not a duration"),
        ([*MASTER, "--token", "env:SOME", "--wait", "0s"], "--wait must be greater than 0s"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    options: list[str], reported: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIZEWISE_TOKEN", raising=False)
    monkeypatch.setenv("SOME", "a secret of many letters")
    monkeypatch.setenv("SHORT", "canary")
    assert main(["worker", *options]) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert reported in shown
    assert "canary" not in shown


def test_a_host_that_nobody_knows_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_TOKEN", "a secret of many letters")
    assert main(["worker", "--master", "no-such-host.invalid:5557"]) == ExitCode.UNAVAILABLE
    assert "no-such-host.invalid of --master cannot be resolved" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], [*MASTER, "--workers", "0"]])
def test_the_command_line_is_checked(options: list[str]) -> None:
    assert main(["worker", *options]) == ExitCode.USAGE
