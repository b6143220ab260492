from __future__ import annotations

import pytest

from app.cli.main import main
from app.errors import ExitCode

MASTER = ["--master", "127.0.0.1:5557"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--master", "10.0.0.1"], "--master '10.0.0.1' has no port"),
        ([*MASTER, "--token", "canary-canary"], "a reference to the token"),
        ([*MASTER, "--token", "env:SHORT"], "at least 16"),
        ([*MASTER], "SIZEWISE_TOKEN is not set"),
        ([*MASTER, "--token", "env:SOME", "--wait", "60"], "--wait: '60' is not a duration"),
        ([*MASTER, "--token", "env:SOME", "--wait", "0s"], "--wait must be greater than 0s"),
    ],
)
def test_invalid_worker_options_are_usage_errors_that_hide_the_token(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIZEWISE_TOKEN", raising=False)
    monkeypatch.setenv("SOME", "a secret of many letters")
    monkeypatch.setenv("SHORT", "canary")
    assert main(["worker", *options]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert "canary" not in error


def test_worker_with_unresolvable_master_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_TOKEN", "a secret of many letters")
    assert main(["worker", "--master", "no-such-host.invalid:5557"]) == ExitCode.UNAVAILABLE
    assert "no-such-host.invalid of --master cannot be resolved" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], [*MASTER, "--workers", "0"]])
def test_worker_requires_a_master_and_at_least_one_worker(options: list[str]) -> None:
    assert main(["worker", *options]) == ExitCode.USAGE
