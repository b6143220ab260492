"""Files of assumptions that the Plan page writes and uses as sources of a plan. `sizewise plan`
accepts the same files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from app.records.dtypes import choose_compute_dtype
from app.storage.run_directory import runs_home, write_atomically
from app.wiring.planning import PlanRequest


class CurveAssumptions(msgspec.Struct, frozen=True):
    """Load curve entered by the user.

    `points` are pairs of request rate (req/s) and latency (ms). `metric` is the latency metric,
    such as `latency_ms.p95`. `hardware` contains keys of `target.hardware` with their values, in
    the format of `--set`.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    metric: str
    hardware: tuple[tuple[str, str], ...]
    peak_per_s: float
    limit_ms: float


class ModelAssumptions(msgspec.Struct, frozen=True):
    """Architecture of a language model, with the planned traffic and latency limits. `shape` has
    the keys of the architecture file. `engine` is the name of an engine; empty if none is chosen."""

    name: str
    shape: Mapping[str, float]
    precision: str
    engine: str
    input_tokens: float
    output_tokens: float
    peak_per_s: float
    ttft_ms: float
    tpot_ms: float


def write_curve(curve: CurveAssumptions) -> PlanRequest:
    points = [{"offered_per_s": rate, curve.metric: latency_ms} for rate, latency_ms in sorted(curve.points)]
    path = _write_assumptions(curve.name, {"model": curve.name, "points": points})
    hardware = tuple(f"target.hardware.{key}={value}" for key, value in curve.hardware)
    return PlanRequest(
        (str(path),),
        (*hardware, f"traffic.peak={curve.peak_per_s!r}/s"),
        slo=(f"{curve.metric} < {curve.limit_ms:g}",),
    )


def write_model(model: ModelAssumptions) -> PlanRequest:
    precision = {"weights": model.precision, "compute": choose_compute_dtype(model.precision)}
    shape = {key: value if key == "parameters" else int(value) for key, value in model.shape.items()}
    engine = {"engine": {"name": model.engine}} if model.engine else {}
    content = {"name": model.name, "language_model": shape, "precision": precision, **engine}
    path = _write_assumptions(model.name, content)
    tokens = f"traffic.tokens={{input: {model.input_tokens:g}, output: {model.output_tokens:g}}}"
    return PlanRequest(
        (str(path),),
        (f"traffic.peak={model.peak_per_s!r}/s", tokens),
        slo=(f"ttft_ms.p95 < {model.ttft_ms:g}", f"tpot_ms.p95 < {model.tpot_ms:g}"),
    )


def format_yaml(content: Mapping[str, object] | Sequence[object]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _write_assumptions(name: str, content: Mapping[str, object]) -> Path:
    directory = runs_home().parent / "assumptions"
    directory.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "assumed"
    path = directory / f"{slug}.yaml"
    write_atomically(path, format_yaml(content).encode())
    return path
