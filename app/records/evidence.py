"""Published measurements of language models on accelerators: one row is one server at one number of
clients."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Literal

import msgspec

from app.records.estimate import Count

EngineName = Literal["vllm", "sglang", "trtllm"]
"""Inference engine: vLLM, SGLang or TensorRT-LLM."""


class PublishedServer(msgspec.Struct, frozen=True, kw_only=True):
    """How a published server ran its model.

    `model` and `accelerator` are keys of the bundled tables of language models and accelerators.
    `precision` is that of the weights: "bf16", "fp8" or "fp4". The replica has `accelerators`
    accelerators: attention is replicated `attention_replicas` times (data parallelism) and each copy
    is split over the others (tensor parallelism); experts are distributed over `expert_parallel`
    accelerators, and each expert is split over the others.
    """

    model: str
    accelerator: str
    precision: str
    engine: EngineName
    version: str
    accelerators: Count
    attention_replicas: Count = 1
    expert_parallel: Count = 1

    @property
    def tensor_parallel(self) -> int:
        """Number of accelerators that one copy of the attention layers is split over."""
        return self.accelerators // self.attention_replicas


class PublishedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A published measurement: mean TTFT and mean TPOT in ms that a closed loop of `clients` clients
    observed, with prompts of at most `input_tokens` and responses of at most `output_tokens` tokens.
    """

    id: str
    served: PublishedServer
    input_tokens: Count
    output_tokens: Count
    clients: Count
    ttft_ms: float
    tpot_ms: float
    source: str
    """Publisher of the measurement: "inferencex" or "nvidia"."""
    image: str | None = None
    """Container image of the server; None if not stated."""
    measured_on: datetime.date | None = None
    """Date of the measurement; None if not stated."""
    recipe: str | None = None
    """Script of InferenceX with the engine's flags for this server; None if the flags are not known."""


class EvidenceSource(msgspec.Struct, frozen=True, kw_only=True):
    """Publisher of measurements, and the terms under which they may be used."""

    id: str
    title: str
    address: str
    license: str
    """Name of the license (SPDX identifier)."""
    retrieved: str
    """Where and when the measurements were retrieved."""
    attribution: str
    """Sentence that is shown wherever the measurements are shown."""
    speculation: str
    """Whether the publisher states speculative decoding."""


PUBLISHED_SOURCES: tuple[EvidenceSource, ...] = (
    EvidenceSource(
        id="inferencex",
        title="InferenceX (formerly InferenceMAX) by SemiAnalysis",
        address="https://github.com/SemiAnalysisAI/InferenceX",
        license="Apache-2.0",
        retrieved="November 2026, from ai-dynamo/aiconfigurator, commit 095f58a",
        attribution="InferenceX by SemiAnalysis is the origin of the points named inferencex. This view of them is "
        "unofficial: it is neither made nor endorsed by SemiAnalysis.",
        speculation="not stated: some servers decoded speculatively",
    ),
    EvidenceSource(
        id="nvidia",
        title="NVIDIA's own runs in aiconfigurator",
        address="https://github.com/ai-dynamo/aiconfigurator",
        license="Apache-2.0",
        retrieved="November 2026, commit 095f58a",
        attribution="NVIDIA is the origin of the points named nvidia. This view of them is unofficial.",
        speculation="not stated",
    ),
)


MLPERF_SOURCE = EvidenceSource(
    id="mlperf",
    title="MLPerf Inference by MLCommons, closed division",
    address="https://mlcommons.org/benchmarks/inference-datacenter",
    license="Apache-2.0",
    retrieved="from the repositories of rounds v3.0, v4.1 and v5.1, mlcommons/inference_results_…",
    attribution="MLCommons and its submitters are the origin of the MLPerf results. This view of them is unofficial.",
    speculation="not stated",
)
"""Publisher of results that are no points: they are listed apart."""


def list_attributions(source_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the sentences that name the publishers of points from these sources."""
    shown = set(source_ids)
    return tuple(source.attribution for source in PUBLISHED_SOURCES if source.id in shown)


OWN_SOURCE = "own"
"""Source of the points that the user added."""
