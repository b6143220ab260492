from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.profiles.bundled import bundled_models
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.profiles.profile import GeneratingProfile, HttpProfile
from loadgen.reference.script import OpenAiMock, Script
from loadgen.reference.scripted import ScriptedServer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_init(monkeypatch: pytest.MonkeyPatch, *answers: str) -> tuple[int, str]:
    stderr = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    monkeypatch.setattr("sys.stderr", stderr)
    return main(["init"]), stderr.getvalue()


def test_init_writes_a_commented_profile_from_user_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, dialog = run_init(
        monkeypatch, "1", "http://127.0.0.1:9/x", '{"a": 1}', "3", "8", "5s", "p95 < 70ms",
    )  # fmt: skip
    assert code == ExitCode.OK, dialog
    assert "an ONNX model on this machine" in dialog
    profile = load_profile(folder / "profile.yaml")
    assert isinstance(profile, HttpProfile)
    assert profile.workload.body == {"a": 1}
    assert (profile.load.stages[0].concurrency, profile.load.stages[0].duration_s) == (8, 5.0)
    assert [objective.text for objective in profile.slo] == ["latency_ms.p95 < 70", "error_rate < 1%"]
    lines = (folder / "profile.yaml").read_text().splitlines()
    assert len(lines) < 25
    assert [line for line in lines if line.startswith("# ")][1:4] == [
        "# What is tested.",
        "# What each request contains.",
        "# How the requests are sent: stages with a rate or concurrency, a sweep, or a search for the highest rate.",
    ]


def test_init_with_empty_input_uses_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_init(monkeypatch, *[""] * 6)[0] == ExitCode.OK
    profile = load_profile(folder / "profile.yaml")
    assert isinstance(profile, EndpointProfile)
    assert profile.load.search is not None


def test_init_offers_the_model_listed_by_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        code, dialog = run_init(monkeypatch, "2", f"{server.url}/v1", "", "", "", "2", "5/s", "", "")
    assert code == ExitCode.OK, dialog
    assert "Name of the model [llama]" in dialog
    profile = load_profile(folder / "profile.yaml")
    assert isinstance(profile, GeneratingProfile)
    assert profile.target.model == "llama"


def test_init_default_base_url_of_anthropic_messages_has_no_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, dialog = run_init(monkeypatch, "5", "http://127.0.0.1:9", "", "", "m", "2", "5/s", "", "")
    assert code == ExitCode.OK, dialog
    assert "Base URL [http://127.0.0.1:8000]" in dialog
    profile = load_profile(folder / "profile.yaml")
    assert isinstance(profile, GeneratingProfile)
    assert profile.target.protocol == "anthropic-messages"


def test_init_with_a_model_file_writes_a_local_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_init(monkeypatch, "4", str(bundled_models()["digits"]))[0] == ExitCode.OK
    assert isinstance(load_profile(folder / "profile.yaml"), LocalProfile)


def test_interrupted_init_writes_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_init(monkeypatch, "1", "http://127.0.0.1:9/")[0] == ExitCode.INTERRUPTED
    assert list(folder.iterdir()) == []


def test_init_does_not_overwrite_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "profile.yaml").write_text("mine")
    code, dialog = run_init(monkeypatch)
    assert code == ExitCode.USAGE
    assert "already exists" in dialog
    assert (folder / "profile.yaml").read_text() == "mine"


def test_init_without_a_terminal_suggests_save(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == ExitCode.USAGE
    assert "--save FILE.yaml" in capsys.readouterr().err


def test_init_repeats_a_question_after_invalid_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, dialog = run_init(
        monkeypatch, "1", "not a url", "http://127.0.0.1:9/", "", "2", "fast", "7/s", "5", "5s", "quick", "p95 < 9ms",
    )  # fmt: skip
    assert code == ExitCode.OK, dialog
    for problem in ("the URL must start with", "'fast' is not a rate", "'5' is not", '"quick" is not a valid'):
        assert problem in dialog
    profile = load_profile(folder / "profile.yaml")
    assert isinstance(profile, EndpointProfile)
    assert profile.load.stages[0].rate_per_s == 7.0


def test_init_into_a_missing_folder_is_a_usage_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", terminal)
    assert main(["init", "gone/profile.yaml"]) == ExitCode.USAGE
    assert "the folder gone does not exist" in terminal.getvalue()
