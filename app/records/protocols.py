"""Protocols of targets: one row per protocol.

Titles, templates of profiles, default SLOs, profile classes and the recognition of an API by its URL
follow from the rows. The order of the rows is the order in which they are listed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LoadForm = Literal["rates", "users", "job", "scenarios"]
"""How load is defined: `rates` also stands for concurrency; `users` are those of a Locust test, `job`
is a job of a batch API, and `scenarios` are those of a local model."""


class TargetProtocol(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    title: str
    """Name in the window."""
    profile: str
    """Name of the profile class in `app.profiles.profile`."""
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
    served_model: Literal["onnx", "language"] | None = None
    """Kind of model that the run itself can serve with the protocol."""


_GENERATION_OBJECTIVES = ("ttft_ms.p95 < 500", "tpot_ms.p95 < 50", "goodput_share >= 90%")
"""Objectives of streamed text. If 95% of the requests meet each of the two limits, at least 90% meet
both."""
_TEXT_OBJECTIVES = ("latency_ms.p95 < 200", "error_rate < 1%")
LOCAL_OBJECTIVES = ("service_ms.p95 < 50",)
TEMPLATE_MODEL = "my-model"
"""Name of the model in templates. It stands for the model that the server serves."""
_PROMPTS = {"prompts": {"input_tokens": 512, "output_tokens": 128}}
_TEXTS = {"prompts": {"input_tokens": 512}}
_OPENAI: dict[str, Any] = {"is_openai": True, "target": {"url": "http://127.0.0.1:8000/v1", "model": TEMPLATE_MODEL}}
"""Fields of the APIs below the base URL of an OpenAI-compatible server."""
_GENERATION: dict[str, Any] = {"profile": "GeneratingProfile", "workload": _PROMPTS,
                               "objectives": _GENERATION_OBJECTIVES, "generates_text": True}  # fmt: skip
"""Fields of the APIs whose responses are streams of generated text."""

PROTOCOLS = (
    TargetProtocol(
        id="http",
        title="HTTP",
        profile="HttpProfile",
        target={"url": "http://127.0.0.1:8000/score"},
        workload={"method": "POST", "body": {"features": [0.1, 0.2]}},
    ),
    TargetProtocol(
        id="openai-chat",
        title="OpenAI chat completions",
        url_patterns=(r"(?P<base>.*/v1)/chat/completions", r"(?P<base>.*/v1)(?P<is_any>(/models)?)"),
        readable_paths=("/models",),
        served_model="language",
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-completions",
        title="OpenAI completions",
        url_patterns=(r"(?P<base>.*/v1)/completions",),
        served_model="language",
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-responses",
        title="OpenAI responses",
        url_patterns=(r"(?P<base>.*/v1)/responses",),
        **_OPENAI,
        **_GENERATION,
    ),
    TargetProtocol(
        id="anthropic-messages",
        title="Anthropic messages",
        target={"url": "http://127.0.0.1:8000", "model": TEMPLATE_MODEL},
        url_patterns=(r"(?P<base>.*)/v1/messages",),
        **_GENERATION,
    ),
    TargetProtocol(
        id="openai-embeddings",
        title="OpenAI embeddings",
        profile="EmbeddingsProfile",
        workload=_TEXTS,
        objectives=_TEXT_OBJECTIVES,
        url_patterns=(r"(?P<base>.*/v1)/embeddings",),
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-rerank",
        title="Rerank",
        profile="RerankProfile",
        workload=_TEXTS,
        objectives=_TEXT_OBJECTIVES,
        url_patterns=(r"(?P<base>.*/v1)/rerank",),
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-speech",
        title="OpenAI speech",
        profile="SpeechProfile",
        workload={"prompts": {"input_tokens": 40}},
        objectives=("ttfa_ms.p95 < 500", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/audio/speech",),
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-transcriptions",
        title="OpenAI transcriptions",
        profile="TranscriptionProfile",
        workload={"audio": {"seconds": 10}},
        objectives=("latency_ms.p95 < 3000", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/audio/transcriptions",),
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-images",
        title="OpenAI images",
        profile="ImageProfile",
        workload={"prompts": {"input_tokens": 30}},
        objectives=("latency_ms.p95 < 30000", "error_rate < 1%"),
        url_patterns=(r"(?P<base>.*/v1)/images/generations",),
        **_OPENAI,
    ),
    TargetProtocol(
        id="openai-realtime",
        title="OpenAI realtime (WebSocket)",
        profile="RealtimeProfile",
        workload={"audio": {"seconds": 3}},
        objectives=("ttfa_ms.p95 < 1000", "error_rate < 1%"),
        url_scheme="ws",
        url_patterns=(r"(?P<base>.*/v1)/realtime",),
        **_OPENAI | {"target": {"url": "ws://127.0.0.1:8000/v1", "model": TEMPLATE_MODEL}},
    ),
    TargetProtocol(
        id="oip",
        title="Open Inference Protocol (Triton, KServe)",
        profile="OipProfile",
        target={"url": "http://127.0.0.1:8000", "model": TEMPLATE_MODEL},
        url_patterns=(
            r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(/versions/[^/]+)?/infer",
            r"(?P<base>.*)/v2(/health/ready)?",
        ),
        readable_paths=("/v2", "/v2/health/ready"),
        served_model="onnx",
    ),
    TargetProtocol(
        id="oip-grpc",
        title="Open Inference Protocol over gRPC",
        profile="OipGrpcProfile",
        target={"url": "grpc://127.0.0.1:8001", "model": TEMPLATE_MODEL},
        url_scheme="grpc",
    ),
    TargetProtocol(
        id="tf-serving",
        title="TensorFlow Serving",
        profile="TfServingProfile",
        target={"url": "http://127.0.0.1:8501", "model": TEMPLATE_MODEL},
        url_patterns=(r"(?P<base>.*)/v1/models/(?P<model>[^/:]+):predict",),
    ),
    TargetProtocol(
        id="torchserve",
        title="TorchServe",
        profile="TorchServeProfile",
        target={"url": "http://127.0.0.1:8080", "model": TEMPLATE_MODEL},
        workload={"body": {"inputs": [0.1, 0.2]}},
        url_patterns=(r"(?P<base>.*)/predictions/(?P<model>[^/]+)",),
    ),
    TargetProtocol(
        id="locust",
        title="Locust test file",
        profile="LocustProfile",
        target={"file": "locustfile.py"},
        objectives=("service_ms.p95 < 50", "error_rate < 1%"),
        load="users",
    ),
    TargetProtocol(
        id="local",
        title="local",
        profile="LocalProfile",
        target={"model": "digits"},
        objectives=LOCAL_OBJECTIVES,
        load="scenarios",
    ),
    TargetProtocol(
        id="grpc",
        title="gRPC",
        profile="GrpcProfile",
        target={"url": "grpc://127.0.0.1:50051"},
        workload={"method": "grpc.health.v1.Health/Check", "body": {"service": ""}},
        url_scheme="grpc",
    ),
    TargetProtocol(
        id="openai-batch",
        title="OpenAI batch job",
        profile="BatchProfile",
        workload=_PROMPTS,
        objectives=("error_rate < 1%",),
        load="job",
        url_patterns=(r"(?P<base>.*/v1)/batches",),
        **_OPENAI,
    ),
)


def get_protocol(protocol_id: str) -> TargetProtocol:
    """Return the row of a protocol. Raises KeyError if the protocol is unknown."""
    protocol = find_target_protocol(protocol_id)
    if protocol is None:
        raise KeyError(protocol_id)
    return protocol


def find_target_protocol(protocol_id: object) -> TargetProtocol | None:
    """Return the row of a protocol; `None` if the protocol is missing or unknown."""
    return next((protocol for protocol in PROTOCOLS if protocol.id == protocol_id), None)
