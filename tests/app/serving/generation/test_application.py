"""The OpenAI API on decoders with random weights, in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import MeasurementError
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.engine import GenerationEngine, GenerationTask, TokenEvent
from app.inference.generation.model_folder import GenerativeModel, read_model_folder
from app.inference.generation.runtime import ModelTokenizer, open_generative_model
from app.serving.generation.application import ServedLanguageModel, build_generation_application
from app.serving.generation.engine_loop import StepEngine
from app.serving.generation.metrics import GenerationMetrics
from app.serving.generation.server import build_batch_limits
from app.serving.generation.service import GenerationService
from app.telemetry.metrics_page import parse_samples
from app.telemetry.scrape import ScrapeReadings
from tests.fakes import decoders
from tests.fakes.asgi import Reply, send_request

pytestmark = pytest.mark.anyio
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
CACHE = PagedCache(block_tokens=16, blocks=24, max_batch=8, max_step_tokens=64)
MESSAGES = [{"role": "user", "content": "Hello?"}]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OpenedDecoder:
    def __init__(self, folder: Path) -> None:
        self.model: GenerativeModel = read_model_folder(folder)
        self.native = open_generative_model(self.model, "cpu", 1, 8)
        self.tokenizer = ModelTokenizer(self.native)

    def open_engine(self) -> GenerationEngine:
        return GenerationEngine(self.native, 8)


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> OpenedDecoder:
    return OpenedDecoder(decoders.paged(tmp_path_factory.mktemp("paged"), cache=CACHE))


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> OpenedDecoder:
    return OpenedDecoder(decoders.contiguous(tmp_path_factory.mktemp("static")))


class InProcessEndpoint:
    def __init__(self, opened: OpenedDecoder, queue_limit: int, open_engine: Callable[[], StepEngine]) -> None:
        limits = build_batch_limits(opened.model, None)
        metrics = GenerationMetrics("m", has_prefix_cache=limits.batching == "continuous")
        self.failures: list[bool] = []
        self.service = GenerationService(
            open_engine, opened.tokenizer, limits, queue_limit, metrics, lambda: self.failures.append(True)
        )
        model = ServedLanguageModel("m", opened.model.vocabulary, created_s=1)
        self.app = build_generation_application(model, self.service, max_bodies_bytes=2**20)
        self._stays = asyncio.Event()

    async def post(self, path: str, left: asyncio.Event | None = None, **document: Any) -> Reply:
        body = json.dumps({"model": "m", **document}).encode()
        return await send_request(self.app, "POST", path, [body], disconnected=left or self._stays)

    async def get(self, path: str) -> Reply:
        return await send_request(self.app, "GET", path)

    async def metrics(self) -> dict[str, float]:
        page = (await self.get("/metrics")).body.decode()
        return {
            sample.name + sample.parse_labels().get("finished_reason", ""): sample.value
            for sample in parse_samples(page)
            if not sample.name.endswith("_bucket")
        }


@asynccontextmanager
async def open_endpoint(
    opened: OpenedDecoder, *, queue_limit: int = 100, open_engine: Callable[[], StepEngine] | None = None
) -> AsyncIterator[InProcessEndpoint]:
    endpoint = InProcessEndpoint(opened, queue_limit, open_engine or opened.open_engine)
    try:
        yield endpoint
    finally:
        endpoint.service.close()


def build_prompts(count: int, length: int = 20) -> list[list[int]]:
    return [[3 + (31 * number + 7 * position) % 500 for position in range(length)] for number in range(count)]


def generate_text(opened: OpenedDecoder, prompt: list[int], tokens: int) -> str:
    engine = opened.open_engine()
    generated: list[int] = []
    engine.start(0, GenerationTask(prompt=tuple(prompt), max_tokens=tokens, min_tokens=tokens))
    while len(generated) < tokens:
        generated += [event.token for event in engine.step() if event.token is not None]
    stream = opened.tokenizer.create_text_stream()
    return "".join(map(stream.decode, generated))


def decode_stream(reply: Reply) -> list[Any]:
    """Return the events of a stream without its `[DONE]`."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = reply.body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return decode_events(lines[:-2])


def decode_events(lines: list[str]) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("kind", ["paged", "static"])
async def test_greedy_responses_equal_the_tokens_of_the_engine(kind: str, request: pytest.FixtureRequest) -> None:
    """The requests exceed a batch and have different lengths, so that they join and leave it; some are streamed."""
    opened: OpenedDecoder = request.getfixturevalue(kind)
    async with open_endpoint(opened) as endpoint:
        requests: list[dict[str, Any]] = [
            {"prompt": prompt[: 5 + number], "max_tokens": 10 + 3 * number, "ignore_eos": True}
            for number, prompt in enumerate(build_prompts(12))
        ]
        replies = await asyncio.gather(
            *(endpoint.post(TEXT, **document, stream=number % 2 == 1) for number, document in enumerate(requests))
        )
    for number, (document, reply) in enumerate(zip(requests, replies, strict=True)):
        choices = [event["choices"][0] for event in decode_stream(reply)] if number % 2 else reply.json["choices"]
        text = generate_text(opened, document["prompt"], document["max_tokens"])
        assert "".join(choice["text"] for choice in choices) == text
        assert choices[-1]["finish_reason"] == "length"


async def test_streamed_chat_has_role_text_finish_reason_and_usage(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        chat: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 12, "ignore_eos": True}
        complete = (await endpoint.post(CHAT, **chat)).json
        stream = decode_stream(await endpoint.post(CHAT, **chat, stream=True, stream_options={"include_usage": True}))
    (choice,) = complete["choices"]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "length")
    assert stream[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [event["choices"][0]["delta"] for event in stream[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]
    assert len(deltas) > 5, "the tokens arrive one by one"
    assert stream[-2]["choices"][0]["finish_reason"] == "length"
    assert stream[-1]["choices"] == []
    prompt_tokens = len(paged.tokenizer.encode("<s>user\nHello?</s>\n<s>assistant\n"))
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 12, "total_tokens": prompt_tokens + 12}
    assert complete["usage"] == {**usage, "prompt_tokens_details": {"cached_tokens": 0}}
    assert stream[-1]["usage"] == {**usage, "prompt_tokens_details": {"cached_tokens": prompt_tokens // 16 * 16}}
    assert {event["id"] for event in stream} == {stream[0]["id"]} != {complete["id"]}


async def test_response_ends_before_a_stop_string(paged: OpenedDecoder) -> None:
    (prompt,) = build_prompts(1)
    text = generate_text(paged, prompt, 30)
    stop = text[8:11]
    async with open_endpoint(paged) as endpoint:
        reply = await endpoint.post(TEXT, prompt=prompt, max_tokens=30, stop=[stop])
    (choice,) = reply.json["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")
    assert reply.json["usage"]["completion_tokens"] < 30


async def test_equal_seeds_generate_equal_responses(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        texts = [
            (await endpoint.post(TEXT, prompt="a", max_tokens=20, temperature=1.0, seed=seed)).json["choices"][0][
                "text"
            ]
            for seed in (1, 1, 2)
        ]
    assert texts[0] == texts[1] != texts[2]


async def test_requests_that_exceed_the_kv_cache_all_complete(paged: OpenedDecoder) -> None:
    """Each request needs a third of the cache at its end, but much less at its start, so too many would deadlock."""
    async with open_endpoint(paged) as endpoint:
        calls = (endpoint.post(TEXT, prompt=prompt, max_tokens=108, ignore_eos=True) for prompt in build_prompts(10))
        replies = await asyncio.gather(*calls)
        metrics = await endpoint.metrics()
    assert [reply.json["usage"]["completion_tokens"] for reply in replies] == [108] * 10
    assert metrics["vllm:request_success_totallength"] == 10
    assert (metrics["vllm:prompt_tokens_total"], metrics["vllm:generation_tokens_total"]) == (200, 1080)
    for name, count in (("time_to_first_token", 10), ("inter_token_latency", 1070), ("e2e_request_latency", 10)):
        assert metrics[f"vllm:{name}_seconds_count"] == count
        assert metrics[f"vllm:{name}_seconds_sum"] > 0
    assert metrics["vllm:kv_cache_usage_perc"] == metrics["vllm:num_requests_running"] == 0


async def wait_until_generating(endpoint: InProcessEndpoint, requests: int = 1) -> None:
    async with asyncio.timeout(60):
        while (await endpoint.metrics())["vllm:time_to_first_token_seconds_count"] < requests:
            await asyncio.sleep(0.001)


async def test_disconnected_client_frees_queue_and_kv_cache(paged: OpenedDecoder) -> None:
    document: dict[str, Any] = {"prompt": build_prompts(1)[0], "max_tokens": 360, "ignore_eos": True}
    async with open_endpoint(paged, queue_limit=2) as endpoint:
        for is_streamed in (False, True):
            left = asyncio.Event()
            running = asyncio.ensure_future(endpoint.post(TEXT, left=left, **document, stream=is_streamed))
            await wait_until_generating(endpoint, 1 + is_streamed)
            gone = asyncio.Event()
            waiting = [asyncio.ensure_future(endpoint.post(TEXT, left=gone, **document)) for _ in range(2)]
            await asyncio.sleep(0)
            metrics = await endpoint.metrics()
            assert (metrics["vllm:num_requests_running"], metrics["vllm:num_requests_waiting"]) == (1, 2)
            assert metrics["vllm:kv_cache_usage_perc"] > 0
            full = await endpoint.post(TEXT, **document)
            assert (full.status, full.headers["retry-after"], full.json["error"]["code"]) == (429, "1", "queue_full")
            gone.set()
            left.set()
            statuses = [reply.status for reply in await asyncio.gather(running, *waiting)]
            assert statuses == [200 if is_streamed else 0, 0, 0], "only the stream has started"
        reply = await endpoint.post(TEXT, **{**document, "max_tokens": 300})
        metrics = await endpoint.metrics()
    assert reply.json["usage"]["completion_tokens"] == 300
    assert (metrics["vllm:request_success_totalabort"], metrics["vllm:request_success_totallength"]) == (6, 1)


class FailingEngine:
    """An engine that generates one token of each request and fails at the next step."""

    def __init__(self) -> None:
        self._started: list[int] = []

    def start(self, request_id: int, task: GenerationTask) -> None:
        self._started.append(request_id)

    def cancel(self, request_id: int) -> None: ...

    def step(self) -> list[TokenEvent]:
        if not self._started:
            raise MeasurementError("the engine failed: no memory")
        started, self._started = self._started, []
        return [TokenEvent(request_id, 100) for request_id in started]


async def test_failed_engine_ends_every_request_with_an_error(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged, open_engine=FailingEngine) as endpoint:
        assert (await endpoint.get("/health")).status == 200
        complete, stream = await asyncio.gather(
            endpoint.post(TEXT, prompt="a"), endpoint.post(CHAT, messages=MESSAGES, stream=True)
        )
        assert (complete.status, complete.json["error"]["type"]) == (500, "server_error")
        assert stream.status == 200 or stream.json["error"]["type"] == "server_error"
        if stream.status == 200:
            lines = stream.body.decode().split("\n\n")
            assert lines[-1] == ""
            assert decode_events(lines[:-1])[-1]["error"]["code"] == "failed", "no [DONE] follows"
        assert (await endpoint.get("/health")).status == 503
        assert (await endpoint.post(TEXT, prompt="a")).status == 503
        assert str(endpoint.service.failure) == "the engine failed: no memory"
        assert endpoint.failures == [True]


async def test_drain_completes_running_requests_and_rejects_new_ones(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        running = asyncio.ensure_future(endpoint.post(TEXT, prompt="a", max_tokens=50, ignore_eos=True))
        await wait_until_generating(endpoint)
        draining = asyncio.ensure_future(endpoint.service.drain())
        await asyncio.sleep(0)
        rejected = await endpoint.post(TEXT, prompt="a")
        assert (rejected.status, rejected.json["error"]["code"]) == (503, "draining")
        assert (await endpoint.get("/health")).status == 503
        assert (await running).json["usage"]["completion_tokens"] == 50
        await draining


async def test_aborted_requests_end_with_an_error(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        document: dict[str, Any] = {"prompt": build_prompts(1)[0], "max_tokens": 360, "ignore_eos": True}
        calls = [
            asyncio.ensure_future(endpoint.post(TEXT, **document, stream=is_streamed)) for is_streamed in (True, False)
        ]
        await wait_until_generating(endpoint)
        draining = asyncio.ensure_future(endpoint.service.drain())
        endpoint.service.abort()
        stream, waiting = await asyncio.gather(*calls)
        await draining
        for _ in range(5):  # Events that the engine had already sent are ignored.
            await asyncio.sleep(0.001)
        metrics = await endpoint.metrics()
    lines = stream.body.decode().split("\n\n")
    assert (stream.status, decode_events(lines[:-1])[-1]["error"]["code"]) == (200, "stopped")
    assert (waiting.status, waiting.json["error"]["type"], waiting.json["error"]["code"]) == (
        503,
        "server_error",
        "stopped",
    )
    assert metrics["vllm:request_success_totalerror"] == 2


@pytest.mark.parametrize(("kind", "length"), [("paged", 384), ("static", 2048)])
async def test_models_are_listed_with_their_batching(kind: str, length: int, request: pytest.FixtureRequest) -> None:
    async with open_endpoint(request.getfixturevalue(kind)) as endpoint:
        (model,) = (await endpoint.get("/v1/models")).json["data"]
        assert model["max_model_len"] == length
        assert model["batching"] == {"paged": "continuous", "static": "static"}[kind]
        assert (await endpoint.get("/v1/models/m")).json == model
        for path in ("/v1/models/x", "/v2", "/nothing"):
            reply = await endpoint.get(path)
            assert (reply.status, reply.json["error"]["code"]) == (404, "not_found")
        responses = await endpoint.post("/v1/responses", input="Hello?")
        assert responses.status == 404
        assert responses.json["error"]["message"] == (
            "/v1/responses is not a path of this endpoint; it has /v1/chat/completions and /v1/completions"
        )
        assert (await endpoint.get(TEXT)).status == 405


async def test_errors_have_the_format_of_the_openai_api(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        reply = await endpoint.post(TEXT, prompt="a", max_tokens=500)
    assert reply.status == 400
    assert reply.json["error"] == {
        "message": "a prompt of 1 tokens and a response of up to 500 tokens exceeds the context of 384 tokens",
        "type": "invalid_request_error",
        "param": None,
        "code": "context_length_exceeded",
    }
    async with open_endpoint(paged) as endpoint:
        reply = await endpoint.post(CHAT, messages=MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (reply.status, reply.json["error"]["param"]) == (400, "tools")


async def test_telemetry_reads_the_endpoint_metrics(paged: OpenedDecoder) -> None:
    async with open_endpoint(paged) as endpoint:
        await endpoint.post(TEXT, prompt=build_prompts(1)[0], max_tokens=5, ignore_eos=True)
        readings = ScrapeReadings()
        for sample in parse_samples((await endpoint.get("/metrics")).body.decode()):
            readings.add(sample)
    assert readings.readings_by_source[""] == {
        "server_running_requests": 0,
        "server_waiting_requests": 0,
        "server_kv_cache_percent": 0,
        "server_input_tokens_total": 20,
        "server_output_tokens_total": 5,
        "server_cached_tokens_total": 0,
        "server_requests_total": 1,
    }
