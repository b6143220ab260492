"""What a user is asked before a profile's secrets are sent to a host."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli.main import main
from app.cli.secret_consent import request_consent
from app.errors import ExitCode, UsageError
from app.profiles.loading import load_profile
from app.profiles.profile import Profile
from tests.fakes.command_line import parse

PROFILE = """sizewise: 1
name: mine
target: {protocol: http, url: "http://10.0.0.5/score", api_key: env:API_KEY}
workload: {body: {a: 1}}
load: {stages: [{rate: 10/s, duration: 1s}]}
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("API_KEY", "canary")
    path = tmp_path / "mine.yaml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def profile(path: Path) -> Profile:
    return load_profile(path)


def test_where_nobody_can_be_asked_the_run_ends_with_2_and_says_what_to_do(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert "profile 'mine' sends env:API_KEY to 10.0.0.5, which is not allowed" in shown
    assert "--allow-secrets 10.0.0.5" in shown
    assert "canary" not in shown
    assert not (tmp_path / "run").exists()


def test_the_option_allows_a_host_once_and_for_all(profile: Profile) -> None:
    request_consent(profile, parse(["run", "quickstart", "--allow-secrets", "10.0.0.5"])["allow_secrets"])
    request_consent(profile, [])


@pytest.mark.parametrize(("typed", "is_allowed"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_the_user_is_asked_once(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, typed: str, is_allowed: bool
) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", shown)
    if not is_allowed:
        with pytest.raises(UsageError):
            request_consent(profile, [])
        return
    request_consent(profile, [])
    request_consent(profile, [])
    assert shown.getvalue().count("sends env:API_KEY to 10.0.0.5. Allow this?") == 1
