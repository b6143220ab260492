"""Each protocol with its mock: the mock accepts the load worker's requests, and the worker accepts the responses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadgen.payloads.tensors import TensorInput
from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint
from loadgen.reference.script import (
    HttpMock,
    OipMock,
    OpenAiMock,
    Reply,
    Script,
    ServiceModel,
    TfServingMock,
    TorchServeMock,
)
from loadgen.reference.scripted import ScriptedServer
from loadgen.workloads import (
    Dataset,
    FixedLength,
    GeneratedAudio,
    HttpWorkload,
    OipWorkload,
    OpenAiWorkload,
    Popularity,
    RealtimeWorkload,
    SyntheticPrompts,
    TfServingWorkload,
    TorchServeWorkload,
    TranscriptionWorkload,
    UniformLength,
    Workload,
)
from tests.fakes.realtime_server import DONE, RealtimeServer, audio_delta, realtime_server
from tests.fakes.stage_run import StageRun, plan

pytestmark = pytest.mark.process

PROMPTS = SyntheticPrompts(UniformLength(5, 20), FixedLength(4), unique=20)
INPUTS = (TensorInput("x", "FP32", (-1, 3)), TensorInput("id", "INT64", (-1, 1)), TensorInput("t", "BYTES", (-1, 1)))
SERVICE_MODEL = ServiceModel(delay_s=0.002)
SCRIPT = Script(
    reply=Reply(404),
    protocols=(
        HttpMock(SERVICE_MODEL, "/score"),
        OpenAiMock(SERVICE_MODEL),
        OipMock(SERVICE_MODEL, inputs=INPUTS),
        TfServingMock(SERVICE_MODEL, inputs=INPUTS),
        TorchServeMock(SERVICE_MODEL),
    ),
)


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


@pytest.mark.parametrize(
    ("base", "workload"),
    [
        ("/score", HttpWorkload("POST", bodies=(b"[]",))),
        ("/v1", OpenAiWorkload("chat", "scripted", PROMPTS)),
        ("/v1", OpenAiWorkload("chat", "scripted", PROMPTS, stream=False)),
        ("/v1", OpenAiWorkload("completions", "scripted", PROMPTS)),
        ("/v1", OpenAiWorkload("completions", "scripted", PROMPTS, stream=False)),
        ("/v1", OpenAiWorkload("responses", "scripted", PROMPTS)),
        ("/v1", OpenAiWorkload("responses", "scripted", PROMPTS, stream=False)),
        ("", OpenAiWorkload("messages", "scripted", PROMPTS)),
        ("", OpenAiWorkload("messages", "scripted", PROMPTS, stream=False)),
        ("/v1", OpenAiWorkload("embeddings", "scripted", PROMPTS)),
        ("/v1", OpenAiWorkload("rerank", "scripted", PROMPTS)),
        ("", OipWorkload("scripted", rows_per_request=2)),
        ("", OipWorkload("scripted", binary=False, popularity=Popularity("zipf"))),
        ("", TfServingWorkload("scripted", rows_per_request=2)),
        ("", TorchServeWorkload("scripted", bodies=(b"[1]", b"[2]"))),
    ],
    ids=lambda parameter: (
        None if isinstance(parameter, str) else f"{type(parameter).__name__}-{getattr(parameter, 'api', '')}"
    ),
)
def test_responses_of_every_protocol_are_accepted_with_token_counts(
    load: LoadProcess, base: str, workload: Workload
) -> None:
    with ScriptedServer(SCRIPT) as server:
        load.configure(Endpoint((f"{server.url}{base}",)), workload)
        preflight = load.preflight()
        assert preflight.error is None, preflight
        rows = StageRun(load, plan(rate=100, duration=0.2)).rows
    assert len(rows) == 20
    assert rows["error"].isna().all()
    assert (rows["end_ns"] - rows["sent_ns"]).min() >= 2_000_000
    if isinstance(workload, OpenAiWorkload) and workload.api in ("chat", "completions", "responses", "messages"):
        assert set(rows["tokens_out"]) == {4}
        assert set(rows["token_source"]) == {"server"}


MEDIA = Script(
    paths={
        "/v1/audio/speech": Reply(body=bytes(4_800), headers=(("Content-Type", "audio/pcm"),)),
        "/v1/audio/transcriptions": Reply(body=b'{"text": "hello"}'),
        "/v1/images/generations": Reply(body=b'{"data": [{"url": "http://h/1.png"}]}'),
    }
)
CLIPS = GeneratedAudio(FixedLength(1), unique=2)


@pytest.mark.parametrize(
    ("workload", "audio_s", "images"),
    [
        (OpenAiWorkload("speech", "m", PROMPTS, extra_body=b'{"response_format": "pcm"}'), 0.1, None),
        (TranscriptionWorkload("m", CLIPS), 1.0, None),
        (OpenAiWorkload("images", "m", PROMPTS, stream=False), None, 1),
    ],
    ids=["speech", "transcriptions", "images"],
)
def test_audio_and_images_are_in_rows(
    load: LoadProcess, workload: Workload, audio_s: float | None, images: int | None
) -> None:
    with ScriptedServer(MEDIA) as server:
        load.configure(Endpoint((f"{server.url}/v1",)), workload)
        assert load.preflight().error is None
        rows = StageRun(load, plan(rate=50, duration=0.1)).rows
    assert rows["error"].isna().all()
    assert set(rows["audio_s"].dropna()) == ({audio_s} if audio_s else set())
    assert set(rows["images"].dropna()) == ({images} if images else set())
    assert rows["first_audio_ns"].notna().all() == (audio_s == 0.1)


def test_realtime_dialog_is_one_row(load: LoadProcess) -> None:
    with realtime_server(RealtimeServer([audio_delta(4_800), DONE])) as server:
        load.configure(Endpoint((server.url,)), RealtimeWorkload("m", CLIPS))
        assert load.preflight().error is None
        rows = StageRun(load, plan(rate=50, duration=0.1)).rows
    assert rows["error"].isna().all()
    assert set(rows["status"]) == {101}
    assert set(rows["audio_s"]) == {0.1}
    assert (rows["input_end_ns"] - rows["sent_ns"]).min() >= 1_000_000_000
    assert (rows["first_audio_ns"] >= rows["input_end_ns"]).all()


def test_popular_rows_of_folder_are_sent_more_often(load: LoadProcess, tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    workload = TorchServeWorkload(
        "scripted", dataset=Dataset(str(tmp_path), "folder"), popularity=Popularity("zipf", exponent=2)
    )
    with ScriptedServer(SCRIPT) as server:
        load.configure(Endpoint((server.url,)), workload)
        rows = StageRun(load, plan(rate=400, duration=0.5)).rows
        sent = [request[-1:] for request in server.requests]
    assert rows["error"].isna().all()
    counts = sorted((sent.count(name) for name in set(sent)), reverse=True)
    assert counts[0] > 0.5 * len(sent)


@pytest.mark.timing
def test_service_model_with_two_servers_has_knee(load: LoadProcess) -> None:
    """Two servers of 10 ms sustain 200 req/s at any concurrency."""
    mock = HttpMock(ServiceModel(delay_s=0.01, servers=2))
    with ScriptedServer(Script(protocols=(mock,))) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        below = StageRun(load, plan(arrivals=ClosedArrivals(1), duration=0.5))
        beyond = StageRun(load, plan(arrivals=ClosedArrivals(8), duration=0.5))
    assert np.median(below.latency_ms("sent_ns")) == pytest.approx(10, abs=2)
    assert np.median(beyond.latency_ms("sent_ns")) == pytest.approx(40, abs=6)
