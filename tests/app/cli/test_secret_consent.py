"""What a user is asked before a profile's secrets and files are sent to a host."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli.commands import Arguments
from app.cli.main import main
from app.cli.secret_consent import allow_command_line, request_consent
from app.errors import ExitCode, UsageError
from app.profiles.loading import load_profile
from app.profiles.locust import build_locust_profile
from app.profiles.profile import Profile
from app.profiles.resolved import format_spec
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
    request_consent([profile], parse(["run", "quickstart", "--allow-secrets", "10.0.0.5"])["allow_secrets"])
    request_consent([profile], [])


@pytest.mark.parametrize(("typed", "is_allowed"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_the_user_is_asked_once(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, typed: str, is_allowed: bool
) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", shown)
    if not is_allowed:
        with pytest.raises(UsageError):
            request_consent([profile], [])
        return
    request_consent([profile], [])
    request_consent([profile], [])
    assert shown.getvalue().count("sends env:API_KEY to 10.0.0.5. Allow this?") == 1


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user, outside the folder of the profile."""
    (tmp_path / "user").mkdir()
    file = tmp_path / "user" / "rows.jsonl"
    file.write_text('{"a": 1}\n')
    return file


def write_profile(folder: Path, dataset: Path | str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "profile.yaml"
    target = PROFILE.replace("api_key: env:API_KEY", "permitted: true")
    path.write_text(target.replace("{body: {a: 1}}", f'{{dataset: "{dataset}"}}'))
    return path


def test_a_file_outside_the_profiles_folder_needs_the_users_consent(
    outside: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_profile(tmp_path / "stranger", outside)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert f"file:{outside}" in shown
    assert "10.0.0.5" in shown
    assert "--allow-secrets 10.0.0.5" in shown
    assert not (tmp_path / "run").exists()
    assert main(["profiles", "try", str(path)]) == ExitCode.USAGE


def test_the_option_allows_this_file_and_no_other(outside: Path, tmp_path: Path) -> None:
    profile = load_profile(write_profile(tmp_path / "stranger", outside))
    request_consent([profile], ["10.0.0.5"])
    request_consent([profile], [])
    other = outside.with_name("other.jsonl")
    other.write_text("{}\n")
    with pytest.raises(UsageError):
        request_consent([load_profile(write_profile(tmp_path / "stranger", other))], [])


def test_the_stored_profile_of_a_run_reads_the_files_of_its_original_without_a_question(
    outside: Path, tmp_path: Path
) -> None:
    stored = tmp_path / "run" / "spec.yaml"
    original = load_profile(write_profile(outside.parent, "rows.jsonl"))
    stored.parent.mkdir()
    stored.write_text(format_spec(original))
    with pytest.raises(UsageError):
        request_consent([load_profile(stored)], [])
    request_consent([original], [])
    request_consent([load_profile(stored)], [])


def test_the_files_that_a_command_names_need_no_consent(
    outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = outside.with_name("locustfile.py")
    test.write_text("")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    profile = build_locust_profile(test, host="http://10.0.0.5/")
    with pytest.raises(UsageError):
        request_consent([profile], [])
    arguments = Arguments(allow_secrets=())
    allow_command_line(profile, arguments)
    request_consent([profile], arguments.allow_secrets)


@pytest.fixture
def sides(path: Path) -> list[str]:
    """Two profiles for a comparison, each with a host of its own."""
    other = path.with_name("other.yaml")
    other.write_text(PROFILE.replace("10.0.0.5", "10.0.0.6").replace("mine", "other"))
    return [str(path), str(other)]


def test_comparison_that_measures_needs_consent_before_its_first_run(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record"
    for options, host in (([], "10.0.0.5"), (["--allow-secrets", "10.0.0.5"], "10.0.0.6")):
        assert main(["compare", "--measure", *sides, "--record", str(record), *options]) == ExitCode.USAGE
        shown = capsys.readouterr().err
        assert f"sends env:API_KEY to {host}" in shown
        assert f"--allow-secrets {host}" in shown
        assert not record.exists()


def test_option_allows_the_host_of_either_profile(sides: list[str]) -> None:
    profiles = [load_profile(Path(side)) for side in sides]
    request_consent(profiles, ["10.0.0.6", "10.0.0.5"])
    request_consent(profiles, [])
    with pytest.raises(UsageError, match=r"10\.0\.0\.7: the profile sends no secret"):
        request_consent(profiles, ["10.0.0.7"])
