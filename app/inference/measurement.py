"""What a local measurement of a model found."""

from __future__ import annotations

import msgspec

from app.inference.tensor_spec import TensorSpec


class BatchMeasurement(msgspec.Struct, frozen=True):
    """Single stream, closed loop: the next call starts when the last one ends. Warm-up runs came before `start_ns`."""

    batch: int
    warmup_runs: int
    start_ns: int
    end_ns: int
    latencies_ns: tuple[int, ...]


class Accuracy(msgspec.Struct, frozen=True):
    right: int
    total: int


class LocalMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """`library_load_ms`, `session_build_ms` and `first_inference_ms` are one cold start, of a process of its own."""

    name: str
    model_sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime_version: str
    provider_requested: str
    provider_used: str
    provider_reason: str | None
    """Why the provider used is not the one asked for; None where it is."""
    nodes_elsewhere: tuple[str, ...]
    """Compute nodes on another provider than asked, such as `MatMul on CPUExecutionProvider`."""
    threads: int
    library_load_ms: float
    session_build_ms: float
    first_inference_ms: float
    batches: tuple[BatchMeasurement, ...]
    accuracy: Accuracy | None
    """None without labelled rows."""
