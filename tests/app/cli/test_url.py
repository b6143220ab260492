from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.cli.commands import build_group
from app.cli.main import main
from app.cli.run import LocustOptions, RequestedProfile, load_requested_profile
from app.cli.url import UrlOptions
from app.errors import ExitCode
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import load_profile
from app.profiles.profile import (
    GeneratingProfile,
    HttpProfile,
    ImageProfile,
    OipGrpcProfile,
    OipProfile,
    Profile,
    RealtimeProfile,
    SpeechProfile,
    TranscriptionProfile,
)
from loadgen.reference.script import OpenAiMock, Script
from loadgen.reference.scripted import ScriptedServer
from loadgen.workloads import UniformLength
from tests.fakes.command_line import parse

URL = "http://127.0.0.1:9/score"


def load_requested(*arguments: str, overrides: Sequence[str] = ()) -> RequestedProfile:
    values = parse(["run", *arguments])
    locust, url = build_group(LocustOptions, values), build_group(UrlOptions, values)
    return load_requested_profile(values["profile"], locust, url, overrides)


def load_profile_of_command(*arguments: str) -> Profile:
    return load_requested(*arguments).profile


def test_saved_profile_equals_the_profile_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "saved.yaml"
    arguments = (URL, "--rate", "50/s", "--slo", "p95 < 50ms", "--save", str(path))
    requested = load_requested(*arguments, overrides=["load.seed=3"])
    profile = requested.profile
    assert not path.exists(), "nothing was measured yet"
    requested.save()
    assert load_profile(path) == profile
    assert isinstance(profile, EndpointProfile)
    assert profile.load.seed == 3
    assert len(path.read_text().splitlines()) < 15, "only what differs from the defaults"


def test_url_scheme_and_options_select_the_protocol() -> None:
    assert isinstance(load_profile_of_command("--oip", "http://127.0.0.1:9", "--model", "m"), OipProfile)
    assert isinstance(load_profile_of_command("--grpc", "grpc://127.0.0.1:9", "--model", "m"), OipGrpcProfile)
    assert isinstance(load_profile_of_command("grpc://127.0.0.1:9", "--model", "m"), OipGrpcProfile)
    messages = load_profile_of_command("--anthropic", "http://127.0.0.1:9", "--model", "m", "--output-tokens", "7")
    assert isinstance(messages, GeneratingProfile)
    assert messages.target.protocol == "anthropic-messages"
    openai = ("--openai", "http://127.0.0.1:9/v1", "--model", "m", "--api")
    speech = load_profile_of_command(*openai, "speech", "--input-tokens", "uniform 5 to 9")
    assert isinstance(speech, SpeechProfile)
    assert speech.workload.prompts is not None
    assert speech.workload.prompts.input_tokens == UniformLength(5, 9)
    assert isinstance(load_profile_of_command(*openai, "transcriptions"), TranscriptionProfile)
    assert isinstance(load_profile_of_command(*openai, "images"), ImageProfile)
    realtime = load_profile_of_command("--openai", "ws://127.0.0.1:9/v1", "--model", "m", "--api", "realtime")
    assert isinstance(realtime, RealtimeProfile)
    assert realtime.target.url == "http://127.0.0.1:9/v1"


def test_model_name_is_read_from_the_server() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        profile = load_profile_of_command("--openai", f"{server.url}/v1", "--concurrency", "1,2")
    assert isinstance(profile, GeneratingProfile)
    assert profile.target.model == "llama"


def test_secret_is_allowed_for_the_host_of_the_command_line_url(monkeypatch: pytest.MonkeyPatch) -> None:
    requested = load_requested("http://10.0.0.5/", "--api-key", "env:KEY", "-H", "X-Team: a")
    assert requested.described_hosts == ("10.0.0.5",)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([URL, "--oip", URL], "more than one target is specified", "one URL"),
        ([URL, "--model", "m"], "--model requires --openai", "Plain HTTP"),
        ([URL, "--api", "speech"], "--api requires --openai", "--openai URL"),
        (
            ["--openai", URL, "--model", "m", "--api", "speech", "--output-tokens", "5"],
            "--output-tokens is only for a language model",
            "Remove it.",
        ),
        (
            ["--openai", URL, "--model", "m", "--api", "transcriptions", "--input-tokens", "5"],
            "--input-tokens is only for requests with texts",
            "Remove it.",
        ),
        ([URL, "--concurrency", "many"], "'many' is not a number of clients", "1,2,4"),
        ([URL, "--rate", "5/s", "--concurrency", "2"], "cannot be combined", ""),
        ([URL, "--users", "3"], "--users cannot be combined with a URL", ""),
        ([URL, "--locustfile", "test.py"], "--locustfile cannot be combined with a URL", ""),
        (["quickstart", "--rate", "5/s"], "--rate requires a URL", "--set"),
        (["quickstart", "--duration", "5s"], "--duration requires a URL", "--set"),
        (["--grpc", "grpc://127.0.0.1:9"], "needs the name of the model", "--model"),
        (["--openai", "http://127.0.0.1:9/v1"], "does not list the models of the server", "--model"),
        (["127.0.0.1:8000/score"], "127.0.0.1:8000/score is neither a file nor a bundled profile", "http://"),
        (
            [URL, "-H", "Authorization: Bearer abc", "--save", "p.yaml"],
            "target.headers.Authorization may be a secret",
            "env:",
        ),
        ([URL, "--save", "here.yaml"], "here.yaml already exists", "another file"),
        ([URL, "-d", "{'features': [1]}"], "the body is not JSON", "single quotes"),
        ([URL, "-d", "a=1", "-H", "Content-Type: application/vnd.api+json"], "the body is not JSON", "content_type"),
    ],
)
def test_invalid_url_options_are_reported_before_any_run(
    arguments: list[str],
    message: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    (tmp_path / "here.yaml").write_text("")
    code = main(["run", *arguments])
    error = capsys.readouterr().err
    assert code == (ExitCode.UNAVAILABLE if "does not list" in message else ExitCode.USAGE), error
    assert message in error
    assert hint in error.partition("hint: ")[2]
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize("arguments", [["--openai"], []])
def test_chat_completions_url_selects_the_openai_api(arguments: list[str]) -> None:
    profile = load_profile_of_command(*arguments, "http://127.0.0.1:9/v1/chat/completions", "--model", "m")
    assert isinstance(profile, GeneratingProfile)
    assert (profile.target.protocol, profile.target.url) == ("openai-chat", "http://127.0.0.1:9/v1")


def test_request_url_selects_api_and_model() -> None:
    speech = load_profile_of_command("--openai", "http://127.0.0.1:9/v1/audio/speech", "--model", "m")
    assert isinstance(speech, SpeechProfile)
    oip = load_profile_of_command("http://127.0.0.1:9/v2/models/resnet/infer")
    assert isinstance(oip, OipProfile)
    assert (oip.target.url, oip.target.model) == ("http://127.0.0.1:9", "resnet")


@pytest.mark.parametrize(
    "arguments", [["/v1/chat/completions", "-d", "{}"], ["/v1/chat/completions", "-X", "GET"], ["/v1/models"]]
)
def test_url_with_body_method_or_model_list_is_plain_http(arguments: list[str]) -> None:
    path, *options = arguments
    profile = load_profile_of_command(f"http://127.0.0.1:9{path}", *options)
    assert isinstance(profile, HttpProfile)
    assert profile.target.url == f"http://127.0.0.1:9{path}"


def test_insecure_option_disables_certificate_verification() -> None:
    secure, insecure = (
        load_profile_of_command("https://127.0.0.1:9"),
        load_profile_of_command("https://127.0.0.1:9", "-k"),
    )
    assert isinstance(secure, HttpProfile)
    assert isinstance(insecure, HttpProfile)
    assert (secure.target.tls.verify, insecure.target.tls.verify) == (True, False)
