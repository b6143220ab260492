"""Build records in llm-d's Benchmark Report format 0.2.1, so that tools for this format can plot
Sizewise runs. There is one file per load point.

A record contains only data that the run measured. Where llm-d's definitions differ from those of
Sizewise, nothing is guessed: for example, a statistic without a mean or a workload without a known
input length is omitted.
"""

from __future__ import annotations

from typing import Literal

import msgspec

VERSION: Literal["0.2.1"] = "0.2.1"
Unit = Literal["count", "ms", "ms/token", "tokens/s", "queries/s"]


class Statistics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    units: Unit
    mean: float
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99p9: float | None = None
    max: float | None = None


class Requests(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    total: int
    failures: int
    input_length: Statistics | None = None
    output_length: Statistics | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    time_to_first_token: Statistics | None = None
    time_per_output_token: Statistics | None = None
    inter_token_latency: Statistics | None = None
    request_latency: Statistics | None = None


class Throughput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    output_token_rate: Statistics | None = None
    request_rate: Statistics | None = None


class Aggregate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    requests: Requests
    latency: Latency
    throughput: Throughput


class RequestPerformance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    aggregate: Aggregate


class Results(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    request_performance: RequestPerformance


class RunTime(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    start: str
    end: str
    duration: str
    """Duration of the load point in ISO 8601 format, such as PT30.2S."""


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identification of a record. `uid` identifies the file, `eid` the run that produced the
    data."""

    uid: str
    eid: str
    time: RunTime
    description: str
    keywords: tuple[str, ...]


class SequenceLength(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    distribution: Literal["other"]
    value: float
    max: int | None = None


class StandardLoad(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tool: str
    tool_version: str
    source: Literal["unknown"]
    parallelism: int
    stage: int
    input_seq_len: SequenceLength
    output_seq_len: SequenceLength | None = None
    rate_qps: float | None = None
    concurrency: int | None = None


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cfg_id: str
    description: str | None = None


class Native(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    config: str | None = None


class LoadConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    metadata: Metadata
    standardized: StandardLoad
    native: Native


class StackMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    label: str
    cfg_id: str
    description: str | None = None


class ServingStack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Endpoint as a component of the serving stack. The inference engine is unknown to the
    client."""

    kind: Literal["generic"]
    tool: str
    tool_version: str
    model: str | None = None
    accelerator: str | None = None
    accelerator_count: float | None = None
    replicas: int | None = None


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    metadata: StackMetadata
    standardized: ServingStack
    native: Native


class Scenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    stack: tuple[Component, ...]
    load: LoadConfig | None = None


class LlmdReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    version: str
    run: Run
    scenario: Scenario
    results: Results
