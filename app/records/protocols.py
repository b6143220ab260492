"""Protocols of targets: one row per protocol.

A row states all that differs between protocols outside of the profile class and of the client that sends the
requests. Templates, checks of profiles, options of the command line, questions of `sizewise init`, the Run page,
lists of served models, probes and tables in the documentation are derived from it. The order of the rows is the
order in which they are listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from app.records.metrics import Trait

LoadForm = Literal["rates", "users", "job", "scenarios"]
"""How load is defined: `rates` also stands for concurrency; `users` are those of a Locust test, `job`
is a job of a batch API, and `scenarios` are those of a local model."""
OpenAiApi = Literal["chat", "completions", "responses", "embeddings", "rerank", "messages", "speech", "images"]
"""API of the requests that the client for OpenAI-compatible servers builds."""
KeyHeader = tuple[str, str]
"""Name of the header that carries an API key, and the text before the key."""


class UrlOption(msgspec.Struct, frozen=True):
    """Option of `sizewise run` whose value is a URL to measure."""

    name: str
    help: str
    synonyms: tuple[str, ...] = ()
    """Names of the option in other tools, which are suggested as this one."""


class ModelList(msgspec.Struct, frozen=True):
    """Request for the list of the models that a server serves."""

    path: str
    """Path below the base URL. A leading /v1 is omitted if the base URL ends in /v1."""
    method: Literal["GET", "POST"] = "GET"

    def build_url(self, base_url: str) -> str:
        """Return the URL, or the path, of the request below a base URL or its path."""
        base_url = base_url.rstrip("/")
        return base_url + (self.path.removeprefix("/v1") if base_url.endswith("/v1") else self.path)


class TargetProtocol(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    title: str
    """Name in the window."""
    profile: str
    """Name of the profile class."""
    profile_module: str = "profile"
    """Module of `app.profiles` with the profile class."""
    url_meaning: str
    """What the URL of a target is, for the documentation."""
    servers: str = ""
    """Servers that speak the protocol, for the documentation; empty if the title names them."""
    target: dict[str, Any]
    """Values of a target in a new profile."""
    workload: dict[str, Any] = {}
    """Values of a workload in a new profile."""
    objectives: tuple[str, ...] = ("latency_ms.p95 < 50", "error_rate < 1%")
    """SLO of a new profile."""
    load: LoadForm = "rates"
    url_scheme: Literal["http", "ws", "grpc"] = "http"
    url_patterns: tuple[str, ...] = ()
    """Patterns of the paths of the API's URLs. The group `base` is the path of the base URL, and
    `model` the name of the model. A pattern with the group `is_any` also matches URLs of the other
    OpenAI APIs."""
    readable_paths: tuple[str, ...] = ()
    """What follows the base URL in other URLs of the API than those of requests. They can be read with
    GET."""
    is_openai: bool = False
    """Whether the API is one of those below the same base URL as OpenAI's."""
    generates_text: bool = False
    """Whether each response is the text that a language model generates for a prompt."""
    api: OpenAiApi | None = None
    metric_traits: tuple[Trait, ...] = ()
    """Traits of metrics that not all protocols have, and this one does."""
    prompt_content: dict[str, str] = {}
    """Keys of the content of prompts that can be sent, with their keys in the body of a request."""
    requires_output_tokens: bool = False
    """Whether each request must set a maximum number of output tokens."""
    has_live_sessions: bool = False
    """Whether the server's own responses can be sent back in a session."""
    has_prompt_lengths: bool = False
    """Whether the numbers of tokens of the requests follow from the profile."""
    calls_methods: bool = False
    """Whether `workload.method` is a method of a service, and `workload.body` its message."""
    key_header: KeyHeader = ("Authorization", "Bearer ")
    model_list: ModelList | None = None
    """Request that lists the served models; `None` if the protocol has none."""
    ready_path: str = ""
    """Path below the base URL that reports readiness without a key. `{model}` is the name of the model, and
    `{version}` is `/versions/VERSION` if the profile has a version. If it is empty, the list of models
    reports readiness, unless it needs a key or is requested with POST."""
    live_path: str = ""
    """Path below the base URL that reports whether the server runs; empty if there is none."""
    url_option: UrlOption | None = None
    api_choice: str | None = None
    """Choice of the option `--api` for the APIs below the URL of `--openai`."""
    init_choice: tuple[int, str] | None = None
    """Position and text of the choice of `sizewise init`; `None` if it has no choice for the protocol."""
    definitions_remark: str | None = None
    """Remark on the metrics of other tools that do not support the protocol."""
    served_model: Literal["onnx", "language"] | None = None
    """Kind of model that the run itself can serve with the protocol."""

    @property
    def has_model(self) -> bool:
        """Whether a target has the name of a model."""
        return "model" in self.target

    @property
    def has_one_sender(self) -> bool:
        """Whether one process of this machine sends all requests, however high the load is."""
        return self.load in ("users", "job")

    @property
    def is_local(self) -> bool:
        """Whether the run itself executes the model, without a server."""
        return self.load == "scenarios"


_GENERATION_OBJECTIVES = ("ttft_ms.p95 < 500", "tpot_ms.p95 < 50", "goodput_share >= 90%")
"""Objectives of streamed text. If 95% of the requests meet each of the two limits, at least 90% meet
both."""
_TEXT_OBJECTIVES = ("latency_ms.p95 < 200", "error_rate < 1%")
LOCAL_OBJECTIVES = ("service_ms.p95 < 50",)
TEMPLATE_MODEL = "my-model"
"""Name of the model in templates. It stands for the model that the server serves."""
_PROMPTS = {"prompts": {"input_tokens": 512, "output_tokens": 128}}
_TEXTS = {"prompts": {"input_tokens": 512}}
_OPENAI: dict[str, Any] = {"is_openai": True, "target": {"url": "http://127.0.0.1:8000/v1", "model": TEMPLATE_MODEL},
                           "url_meaning": "the base URL, as clients take it, usually ending in `/v1`",
                           "model_list": ModelList("/models")}  # fmt: skip
"""Fields of the APIs below the base URL of an OpenAI-compatible server."""
_MEDIA_SERVERS = "OpenAI, and servers such as vLLM, SGLang, LocalAI, speaches and Kokoro-FastAPI"
_GENERATION: dict[str, Any] = {"profile": "GeneratingProfile", "workload": _PROMPTS,
                               "objectives": _GENERATION_OBJECTIVES, "generates_text": True,
                               "metric_traits": ("stream", "tokens"), "has_prompt_lengths": True}  # fmt: skip
"""Fields of the APIs whose responses are streams of generated text."""

PROTOCOLS: tuple[TargetProtocol, ...] = (
    TargetProtocol(
        id="http",
        title="HTTP",
        url_meaning="the address that is requested",
        profile="HttpProfile",
        target={"url": "http://127.0.0.1:8000/score"},
        workload={"method": "POST", "body": {"features": [0.1, 0.2]}},
        init_choice=(0, "an HTTP endpoint"),
    ),
    TargetProtocol(
        id="openai-chat",
        title="OpenAI chat completions",
        url_patterns=(r"(?P<base>.*/v1)/chat/completions", r"(?P<base>.*/v1)(?P<is_any>(/models)?)"),
        readable_paths=("/models",),
        served_model="language",
        api="chat",
        prompt_content={
            "images": "images",
            "audio": "audio",
            "tools": "tools",
            "response_format": "response_format",
        },
        has_live_sessions=True,
        url_option=UrlOption(
            "openai",
            "base URL of an OpenAI-compatible API, as in …/v1",
            ("--base-url", "--endpoint", "--target"),
        ),
        api_choice="chat",
        init_choice=(1, "an OpenAI-compatible API of a language model"),
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-completions",
        title="OpenAI completions",
        url_patterns=(r"(?P<base>.*/v1)/completions",),
        served_model="language",
        api="completions",
        prompt_content={"response_format": "response_format"},
        has_live_sessions=True,
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-responses",
        title="OpenAI responses",
        url_patterns=(r"(?P<base>.*/v1)/responses",),
        api="responses",
        prompt_content={"images": "images", "tools": "tools", "response_format": "text"},
        has_live_sessions=True,
        definitions_remark="Only GuideLLM and AIPerf support the Responses API. For the other tools, its first event "
        "counts as the first message, and each delta as one message.",
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="anthropic-messages",
        title="Anthropic messages",
        url_meaning="the base URL, as clients take it, with or without the `/v1`",
        servers="Anthropic's API, and servers such as vLLM and llama.cpp",
        target={"url": "http://127.0.0.1:8000", "model": TEMPLATE_MODEL},
        url_patterns=(r"(?P<base>.*)/v1/messages",),
        api="messages",
        prompt_content={"images": "images", "tools": "tools", "response_format": "output_config"},
        requires_output_tokens=True,
        key_header=("x-api-key", ""),
        model_list=ModelList("/v1/models"),
        url_option=UrlOption("anthropic", "base URL of a server with the Anthropic Messages API"),
        init_choice=(4, "a server with the Anthropic Messages API"),
        definitions_remark="The tools are compared as if they supported the Messages API: its first event counts as "
        "the first message, and each delta as one message.",
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-embeddings",
        title="OpenAI embeddings",
        profile="EmbeddingsProfile",
        workload=_TEXTS,
        objectives=_TEXT_OBJECTIVES,
        url_patterns=(r"(?P<base>.*/v1)/embeddings",),
        api="embeddings",
        has_prompt_lengths=True,
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-rerank",
        title="Rerank",
        profile="RerankProfile",
        workload=_TEXTS,
        objectives=_TEXT_OBJECTIVES,
        url_patterns=(r"(?P<base>.*/v1)/rerank",),
        api="rerank",
        has_prompt_lengths=True,
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-speech",
        title="OpenAI speech",
        servers=_MEDIA_SERVERS,
        profile="SpeechProfile",
        workload={"prompts": {"input_tokens": 40}},
        objectives=("ttfa_ms.p95 < 500", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/audio/speech",),
        api="speech",
        metric_traits=("speech", "audio"),
        api_choice="speech",
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-transcriptions",
        title="OpenAI transcriptions",
        servers=_MEDIA_SERVERS,
        profile="TranscriptionProfile",
        workload={"audio": {"seconds": 10}},
        objectives=("latency_ms.p95 < 3000", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/audio/transcriptions",),
        metric_traits=("audio",),
        api_choice="transcriptions",
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-images",
        title="OpenAI images",
        servers=_MEDIA_SERVERS,
        profile="ImageProfile",
        workload={"prompts": {"input_tokens": 30}},
        objectives=("latency_ms.p95 < 30000", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/images/generations",),
        api="images",
        metric_traits=("images",),
        api_choice="images",
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-realtime",
        title="OpenAI realtime (WebSocket)",
        servers="OpenAI, vLLM-Omni, speaches, LocalAI",
        profile="RealtimeProfile",
        workload={"audio": {"seconds": 3}},
        objectives=("ttfa_ms.p95 < 1000", "error_rate < 1%"),
        url_scheme="ws",
        url_patterns=(r"(?P<base>.*/v1)/realtime",),
        metric_traits=("speech", "audio", "dialog"),
        api_choice="realtime",
        **_OPENAI
        | {
            "url_meaning": "the base URL with `ws://` or `wss://`, usually ending in `/v1`",
            "target": {"url": "ws://127.0.0.1:8000/v1", "model": TEMPLATE_MODEL},
        },
    ),
    TargetProtocol(
        id="oip",
        title="Open Inference Protocol (Triton, KServe)",
        url_meaning="without the `/v2`",
        servers="Open Inference Protocol v2: Triton, KServe, MLServer",
        profile="OipProfile",
        target={"url": "http://127.0.0.1:8000", "model": TEMPLATE_MODEL},
        url_patterns=(
            r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(/versions/[^/]+)?/infer",
            r"(?P<base>.*)/v2(/health/ready)?",
        ),
        readable_paths=("/v2", "/v2/health/ready"),
        served_model="onnx",
        model_list=ModelList("/v2/repository/index", "POST"),
        ready_path="/v2/health/ready",
        live_path="/v2/health/live",
        url_option=UrlOption("oip", "URL of a server with the Open Inference Protocol"),
        init_choice=(2, "a model server with the Open Inference Protocol, such as Triton"),
    ),
    TargetProtocol(
        id="oip-grpc",
        title="Open Inference Protocol over gRPC",
        url_meaning="`grpc://host:port`, `grpcs://` for TLS",
        profile="OipGrpcProfile",
        target={"url": "grpc://127.0.0.1:8001", "model": TEMPLATE_MODEL},
        url_scheme="grpc",
        url_option=UrlOption("grpc", "the same over gRPC, such as grpc://host:8001"),
    ),
    TargetProtocol(
        id="tf-serving",
        title="TensorFlow Serving",
        url_meaning="without the `/v1`",
        profile="TfServingProfile",
        target={"url": "http://127.0.0.1:8501", "model": TEMPLATE_MODEL},
        url_patterns=(r"(?P<base>.*)/v1/models/(?P<model>[^/:]+):predict",),
        ready_path="/v1/models/{model}{version}/metadata",
    ),
    TargetProtocol(
        id="torchserve",
        title="TorchServe",
        url_meaning="without the `/predictions`",
        profile="TorchServeProfile",
        target={"url": "http://127.0.0.1:8080", "model": TEMPLATE_MODEL},
        workload={"body": {"inputs": [0.1, 0.2]}},
        url_patterns=(r"(?P<base>.*)/predictions/(?P<model>[^/]+)",),
        ready_path="/ping",
    ),
    TargetProtocol(
        id="locust",
        title="Locust test file",
        url_meaning="the users' host, if the test names none",
        profile="LocustProfile",
        target={"file": "locustfile.py"},
        objectives=("service_ms.p95 < 50", "error_rate < 1%"),
        load="users",
    ),
    TargetProtocol(
        id="local",
        title="local",
        url_meaning="",
        profile="LocalProfile",
        target={"model": "digits"},
        objectives=LOCAL_OBJECTIVES,
        load="scenarios",
        init_choice=(3, "an ONNX model on this machine"),
    ),
    TargetProtocol(
        id="grpc",
        title="gRPC",
        url_meaning="`grpc://host:port`, `grpcs://` for TLS",
        servers="any gRPC service",
        profile="GrpcProfile",
        target={"url": "grpc://127.0.0.1:50051"},
        workload={"method": "grpc.health.v1.Health/Check", "body": {"service": ""}},
        url_scheme="grpc",
        metric_traits=("messages",),
        calls_methods=True,
    ),
    TargetProtocol(
        id="openai-batch",
        title="OpenAI batch job",
        servers="the Files and Batches APIs of OpenAI",
        profile="BatchProfile",
        workload=_PROMPTS,
        objectives=("error_rate < 1%",),
        load="job",
        url_patterns=(r"(?P<base>.*/v1)/batches",),
        api="chat",
        metric_traits=("tokens",),
        **_OPENAI,
    ),
)


def get_protocol(protocol_id: str) -> TargetProtocol:
    """Return the row of a protocol. Raises KeyError if the protocol is unknown."""
    protocol = find_target_protocol(protocol_id)
    if protocol is None:
        raise KeyError(protocol_id)
    return protocol


def get_default_protocol(url_scheme: Literal["http", "ws", "grpc"] = "http") -> TargetProtocol:
    """Return the protocol of a URL with a scheme whose path names no API."""
    return next(protocol for protocol in PROTOCOLS if protocol.url_scheme == url_scheme)


def find_target_protocol(protocol_id: object) -> TargetProtocol | None:
    """Return the row of a protocol; `None` if the protocol is missing or unknown."""
    return next((protocol for protocol in PROTOCOLS if protocol.id == protocol_id), None)


def list_text_generating_protocols() -> tuple[str, ...]:
    """Return the IDs of the protocols whose responses are streams of generated text."""
    return tuple(protocol.id for protocol in PROTOCOLS if protocol.generates_text)


def join_text_generating_protocols() -> str:
    """Return the IDs of the protocols whose responses are streams of generated text, as text: "a, b and c"."""
    *names, last = list_text_generating_protocols()
    return f"{', '.join(names)} and {last}"


def list_content_protocols() -> dict[str, tuple[str, ...]]:
    """Return the IDs of the protocols that can send each key of the content of prompts."""
    keys = dict.fromkeys(key for protocol in PROTOCOLS for key in protocol.prompt_content)
    return {key: tuple(protocol.id for protocol in PROTOCOLS if key in protocol.prompt_content) for key in keys}
