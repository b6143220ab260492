from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers

from app.cli.main import main
from app.errors import ExitCode


@pytest.fixture
def locustfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "locustfile.py"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--locustfile", "gone.py"], "gone.py"),
        (["quickstart", "--locustfile", "locustfile.py"], "a profile and --locustfile cannot be combined"),
        (["quickstart", "--users", "3"], "--users requires --locustfile"),
        (["quickstart", "--spawn-rate", "3"], "--spawn-rate requires --locustfile"),
        ([], "neither a profile, a URL nor a Locust test is specified"),
        (["--locustfile", "locustfile.py", "--users", "0"], "concurrency"),
        (["--locustfile", "locustfile.py", "--duration", "3"], "duration"),
    ],
)
def test_invalid_combinations_of_run_options_are_usage_errors(
    locustfile: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--remote-workers", "2"], "--remote-workers requires --bind"),
        (["--token", "env:SOME"], "--token requires --bind"),
        (["--bind", "10.0.0.1:5557"], "--bind requires --remote-workers"),
        (["--bind", "10.0.0.1:5557", "--token", "env:SOME"], "--bind requires --remote-workers"),
        (["--bind", "10.0.0.1:5557", "--remote-workers", "2"], "SIZEWISE_TOKEN is not set"),
        (["--bind", "10.0.0.1", "--remote-workers", "2"], "has no port"),
        (["--bind", "127.0.0.1:5557", "--remote-workers", "2", "--token", "canary-canary"], "a reference to the token"),
        (
            ["--bind", "127.0.0.1:5557", "--remote-workers", "2", "--token", "env:SOME"],
            "only reachable from this machine",
        ),
    ],
)
def test_invalid_combinations_of_remote_worker_options_are_usage_errors(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIZEWISE_TOKEN", raising=False)
    monkeypatch.setenv("SOME", "a secret of many letters")
    assert main(["run", "fraud-scoring", *options]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error
    assert "canary" not in error


@pytest.mark.parametrize("workers", ["0", "-1", "many", "1001", "1.5"])
def test_worker_count_outside_bounds_is_a_usage_error(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "quickstart"], ["quickstart"]):
        assert main([*command, "--workers", workers]) == ExitCode.USAGE
        assert "--workers" in capsys.readouterr().err


def test_users_locust_test_with_several_workers_is_a_usage_error(
    locustfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--locustfile", "locustfile.py", "--workers", "2"]) == ExitCode.USAGE
    assert "your own Locust test runs in a single process" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("command", ["run", "profiles check"])
def test_tokenizer_with_failing_regular_expression_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    regex = tokenizers.Regex("(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(regex, "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    profile = tmp_path / "profile.yaml"
    profile.write_text(
        "{sizewise: 1, name: t, target: {protocol: openai-chat, scripted: {delay: 5ms}},"
        " workload: {tokenizer: tokenizer.json, prompts: {input_tokens: 20, output_tokens: 4}},"
        " load: {stages: [{name: steady, rate: 10/s, duration: 1s}]}}"
    )
    assert main([*command.split(), str(profile)]) == ExitCode.USAGE
    assert str(tmp_path / "tokenizer.json") in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
