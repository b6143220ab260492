"""Consent of the user before secrets and files of a profile are sent to a host."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli.commands import build_group
from app.cli.main import main
from app.cli.run import LocustOptions, load_requested_profile
from app.cli.secret_consent import request_consent
from app.cli.url import UrlOptions
from app.errors import ExitCode, UsageError
from app.profiles.loading import load_profile
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


def test_secret_without_consent_or_a_terminal_is_a_usage_error(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == ExitCode.USAGE
    output = capsys.readouterr().err
    assert "profile 'mine' sends env:API_KEY to 10.0.0.5, which is not allowed" in output
    assert "--allow-secrets 10.0.0.5" in output
    assert "canary" not in output
    assert not (tmp_path / "run").exists()


def test_allow_secrets_option_stores_the_consent(profile: Profile) -> None:
    request_consent([profile], parse(["run", "quickstart", "--allow-secrets", "10.0.0.5"])["allow_secrets"])
    request_consent([profile], [])


@pytest.mark.parametrize(("typed_text", "is_allowed"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False)])
def test_consent_is_requested_once_at_a_terminal(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, typed_text: str, is_allowed: bool
) -> None:
    output = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed_text))
    monkeypatch.setattr("sys.stderr", output)
    if not is_allowed:
        with pytest.raises(UsageError):
            request_consent([profile], [])
        return
    request_consent([profile], [])
    request_consent([profile], [])
    assert output.getvalue().count("sends env:API_KEY to 10.0.0.5. Allow this?") == 1


@pytest.fixture
def outside_file(tmp_path: Path) -> Path:
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


def test_file_outside_the_profile_folder_needs_consent(
    outside_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_profile(tmp_path / "stranger", outside_file)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == ExitCode.USAGE
    output = capsys.readouterr().err
    assert f"file:{outside_file}" in output
    assert "10.0.0.5" in output
    assert "--allow-secrets 10.0.0.5" in output
    assert not (tmp_path / "run").exists()
    assert main(["profiles", "try", str(path)]) == ExitCode.USAGE


def test_consent_for_a_file_does_not_cover_other_files(outside_file: Path, tmp_path: Path) -> None:
    profile = load_profile(write_profile(tmp_path / "stranger", outside_file))
    request_consent([profile], ["10.0.0.5"])
    request_consent([profile], [])
    other = outside_file.with_name("other.jsonl")
    other.write_text("{}\n")
    with pytest.raises(UsageError):
        request_consent([load_profile(write_profile(tmp_path / "stranger", other))], [])


def test_stored_profile_of_a_run_reuses_the_consent_of_its_original(outside_file: Path, tmp_path: Path) -> None:
    stored = tmp_path / "run" / "spec.yaml"
    original = load_profile(write_profile(outside_file.parent, "rows.jsonl"))
    stored.parent.mkdir()
    stored.write_text(format_spec(original))
    with pytest.raises(UsageError):
        request_consent([load_profile(stored)], [])
    request_consent([original], [])
    request_consent([load_profile(stored)], [])


def test_files_named_in_the_command_line_need_no_consent(
    outside_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = outside_file.with_name("locustfile.py")
    test.write_text("")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    values = parse(["run", "--locustfile", str(test), "--host", "http://10.0.0.5/"])
    requested = load_requested_profile(None, build_group(LocustOptions, values), build_group(UrlOptions, values), [])
    with pytest.raises(UsageError):
        request_consent([requested.profile], [])
    request_consent([requested.profile], requested.described_hosts)


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
        output = capsys.readouterr().err
        assert f"sends env:API_KEY to {host}" in output
        assert f"--allow-secrets {host}" in output
        assert not record.exists()


def test_option_allows_the_host_of_either_profile(sides: list[str]) -> None:
    profiles = [load_profile(Path(side)) for side in sides]
    request_consent(profiles, ["10.0.0.6", "10.0.0.5"])
    request_consent(profiles, [])
    with pytest.raises(UsageError, match=r"10\.0\.0\.7: the profile sends no secret"):
        request_consent(profiles, ["10.0.0.7"])
