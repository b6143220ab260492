from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.commands import Arguments
from app.cli.main import main
from app.cli.url import load_url_profile, save_profile
from app.errors import ExitCode
from app.profiles.loading import load_profile
from app.profiles.profile import (
    EndpointProfile,
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


def profile_of(*words: str) -> Profile:
    return load_url_profile(Arguments(**parse(["run", *words])), [])


def test_a_saved_profile_is_the_one_that_is_run(tmp_path: Path) -> None:
    path = tmp_path / "saved.yaml"
    arguments = Arguments(**parse(["run", URL, "--rate", "50/s", "--slo", "p95 < 50ms", "--save", str(path)]))
    profile = load_url_profile(arguments, ["load.seed=3"])
    assert not path.exists(), "nothing was measured yet"
    save_profile(arguments)
    assert load_profile(path) == profile
    assert isinstance(profile, EndpointProfile)
    assert profile.load.seed == 3
    assert len(path.read_text().splitlines()) < 15, "only what differs from the defaults"


def test_the_scheme_and_the_options_name_the_protocol() -> None:
    assert isinstance(profile_of("--oip", "http://127.0.0.1:9", "--model", "m"), OipProfile)
    assert isinstance(profile_of("--grpc", "grpc://127.0.0.1:9", "--model", "m"), OipGrpcProfile)
    assert isinstance(profile_of("grpc://127.0.0.1:9", "--model", "m"), OipGrpcProfile)
    messages = profile_of("--anthropic", "http://127.0.0.1:9", "--model", "m", "--output-tokens", "7")
    assert isinstance(messages, GeneratingProfile)
    assert messages.target.protocol == "anthropic-messages"
    openai = ("--openai", "http://127.0.0.1:9/v1", "--model", "m", "--api")
    speech = profile_of(*openai, "speech", "--input-tokens", "uniform 5 to 9")
    assert isinstance(speech, SpeechProfile)
    assert speech.workload.prompts is not None
    assert speech.workload.prompts.input_tokens == UniformLength(5, 9)
    assert isinstance(profile_of(*openai, "transcriptions"), TranscriptionProfile)
    assert isinstance(profile_of(*openai, "images"), ImageProfile)
    realtime = profile_of("--openai", "ws://127.0.0.1:9/v1", "--model", "m", "--api", "realtime")
    assert isinstance(realtime, RealtimeProfile)
    assert realtime.target.url == "http://127.0.0.1:9/v1"


def test_the_model_is_asked_of_the_server() -> None:
    with ScriptedServer(Script(protocols=(OpenAiMock(model="llama"),))) as server:
        profile = profile_of("--openai", f"{server.url}/v1", "--concurrency", "1,2")
    assert isinstance(profile, GeneratingProfile)
    assert profile.target.model == "llama"


def test_a_secret_may_be_sent_where_the_command_says(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = Arguments(**parse(["run", "http://10.0.0.5/", "--api-key", "env:KEY", "-H", "X-Team: a"]))
    load_url_profile(arguments, [])
    assert arguments.allow_secrets == ("10.0.0.5",)


@pytest.mark.parametrize(
    ("words", "says", "hint"),
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
def test_mistakes_are_named_before_anything_is_sent(
    words: list[str],
    says: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    (tmp_path / "here.yaml").write_text("")
    code = main(["run", *words])
    shown = capsys.readouterr().err
    assert code == (ExitCode.UNAVAILABLE if "does not list" in says else ExitCode.USAGE), shown
    assert says in shown
    assert hint in shown.partition("hint: ")[2]
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize("words", [["--openai"], []])
def test_the_url_of_a_chat_request_is_that_of_an_openai_api(words: list[str]) -> None:
    profile = profile_of(*words, "http://127.0.0.1:9/v1/chat/completions", "--model", "m")
    assert isinstance(profile, GeneratingProfile)
    assert (profile.target.protocol, profile.target.url) == ("openai-chat", "http://127.0.0.1:9/v1")


def test_the_url_of_a_request_names_the_api_and_the_model() -> None:
    speech = profile_of("--openai", "http://127.0.0.1:9/v1/audio/speech", "--model", "m")
    assert isinstance(speech, SpeechProfile)
    oip = profile_of("http://127.0.0.1:9/v2/models/resnet/infer")
    assert isinstance(oip, OipProfile)
    assert (oip.target.url, oip.target.model) == ("http://127.0.0.1:9", "resnet")


@pytest.mark.parametrize(
    "words", [["/v1/chat/completions", "-d", "{}"], ["/v1/chat/completions", "-X", "GET"], ["/v1/models"]]
)
def test_a_url_with_a_body_a_method_or_of_a_list_of_models_is_plain_http(words: list[str]) -> None:
    path, *options = words
    profile = profile_of(f"http://127.0.0.1:9{path}", *options)
    assert isinstance(profile, HttpProfile)
    assert profile.target.url == f"http://127.0.0.1:9{path}"


def test_insecure_accepts_any_certificate() -> None:
    secure, insecure = profile_of("https://127.0.0.1:9"), profile_of("https://127.0.0.1:9", "-k")
    assert isinstance(secure, HttpProfile)
    assert isinstance(insecure, HttpProfile)
    assert (secure.target.tls.verify, insecure.target.tls.verify) == (True, False)
