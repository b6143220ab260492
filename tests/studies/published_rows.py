"""Rows of published measurements in the columns of aiconfigurator's `silicon_sample.csv`, and which of them count.

The rules below were written before the first fit of a model to these rows.

Which rows count
  - `mode` is `agg`: prefill and decode run on the same accelerators.
  - `tp_size` is at most 8, as the file states it, and `pp_size` is 1.
  - TTFT is sane: at most the time of the response, `osl` × TPOT. Above it, clients wait longer for the server to accept
    a request than they are served, so that the number measures the queue of the test, not the server.
  - TTFT, TPOT, lengths and concurrency are stated and greater than 0. The concurrency is that of the source
    (`silicon_concurrency`), else `batch_size`.
  - A measurement that is published several times (same TTFT and same TPOT to the last digit) counts once.

What a row ran on
  - InferenceX states TP and EP of a server. Some exports multiplied them: where `moe_tp_size` = `moe_ep_size` = n > 1,
    and n × n = `tp_size` × `attention_dp_size`, the server had n accelerators and EP n, and attention data parallelism
    if `attention_dp_size` > 1. Rows of vLLM with `tp_size` = `attention_dp_size` = n > 1 and `moe_ep_size` = n × n had
    n accelerators, EP n, and no attention data parallelism, which the recipes of these servers do not have.
    Measurements that were exported in both ways confirm both rules. Rows of NVIDIA's own runs are taken as stated.
  - Without `attention_dp_size`, a mixture of experts has `moe_tp_size` × `moe_ep_size` / `tp_size` copies of attention,
    and any other model one.
  - The precision is that of `precision`, else of `gemm_quant_mode`, else the one in the name of the model, else fp4 for
    gpt-oss and bf16 for all others.

Further decisions
  - An architecture is all models of one shape: DeepSeek-R1, V3, V3.1 and their quantized versions are one.
  - A curve is all rows that differ in nothing but the concurrency.
  - The flags of a row are known if its container image is stated, and the recipes have a script for one server with the
    same model, precision, GPU type and engine. (Not one image of these rows occurs in the recipes of the snapshot of
    InferenceX that came with them, which is newer: by the image alone, no row counts.)
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from app.analysis.language_models import find_model_key
from app.records.evidence import EngineName, PublishedPoint, PublishedServer

ACCELERATORS = {
    "h100_sxm": "h100-sxm5-80gb", "h200_sxm": "h200-sxm-141gb", "b200_sxm": "b200-sxm-180gb", "gb200": "gb200-186gb",
    "b300_sxm": "b300-sxm-270gb", "gb300": "gb300-279gb", "a100_sxm": "a100-sxm4-80gb", "l40s": "l40s",
    "h20_sxm": "h20-sxm-96gb", "mi300x": "mi300x", "mi325x": "mi325x", "mi355x": "mi355x",
    "gb200_sxm": "gb200-186gb", "gb300_sxm": "gb300-279gb", "a100_pcie": "a100-pcie-80gb",
    "a100_sxm_40gb": "a100-sxm4-40gb", "h100_pcie": "h100-pcie-80gb", "h100_nvl": "h100-nvl-94gb",
    "gh200": "gh200-96gb", "l40": "l40", "l4": "l4", "a10g": "a10g", "rtx_5090": "rtx-5090", "rtx_4090": "rtx-4090",
    "rtx_pro_6000_server": "rtx-pro-6000-server", "rtx6000pro": "rtx-pro-6000-server",
}  # fmt: skip
"""Key of the accelerator in the catalog by `system`."""
ENGINES: dict[str, EngineName] = {"vllm": "vllm", "sglang": "sglang", "trtllm": "trtllm", "dynamo-trt": "trtllm"}
_ARCHITECTURES = {"deepseek-v3.2": "deepseek-v3"}
"""Models that are of the architecture of another one but for their indexer."""
MAX_TP = 8
_PREFIXES = {
    "deepseek-v3": "dsr1", "gpt-oss-120b": "gptoss", "minimax-m2": "minimaxm2.5", "qwen3.5-397b-a17b": "qwen3.5",
    "kimi-k2": "kimik2.5", "glm-5": "glm5",
}  # fmt: skip
"""Prefix of the recipes of InferenceX by model."""


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def select_points(rows: Iterable[Mapping[str, str]], recipes: Container[str] = ()) -> list[PublishedPoint]:
    """Return the points that count, in the order of the file, each measurement once, with their recipes.

    Raises ValueError for a row whose model, GPU type or engine is unknown.
    """
    points, measurements = [], set()
    for row in rows:
        if not counts(row):
            continue
        point = build_point(row)
        if (point.ttft_ms, point.tpot_ms) not in measurements:
            measurements.add((point.ttft_ms, point.tpot_ms))
            points.append(replace(point, recipe=find_recipe(point, recipes)))
    return points


def counts(row: Mapping[str, str]) -> bool:
    """Return whether a row is evaluated."""
    if row["mode"] != "agg" or (_number(row["tp_size"]) or 0) > MAX_TP or (_number(row["pp_size"]) or 1) != 1:
        return False
    numbers = [_number(row[key]) for key in ("isl", "osl", "tp_size", "silicon_ttft_ms", "silicon_tpot_ms")]
    if not all(numbers) or not _find_clients(row):
        return False
    _, output_tokens, _, ttft_ms, tpot_ms = (number or 0.0 for number in numbers)
    return ttft_ms <= output_tokens * tpot_ms


def build_point(row: Mapping[str, str]) -> PublishedPoint:
    """Return what a row says, whether or not it has a measurement. Raises ValueError if it names something unknown."""
    source_text = row["silicon_data_source"]
    date = re.search(r"measured=(\d{4}-\d\d-\d\d)", source_text)
    return PublishedPoint(
        id=row["id"],
        served=build_served(row),
        input_tokens=int(float(row["isl"])),
        output_tokens=int(float(row["osl"])),
        clients=int(_find_clients(row) or 0),
        ttft_ms=_number(row.get("silicon_ttft_ms", "")) or 0.0,
        tpot_ms=_number(row.get("silicon_tpot_ms", "")) or 0.0,
        source="nvidia" if "gap" in source_text else "inferencex",
        image=_find_image(source_text),
        measured_on=datetime.date.fromisoformat(date[1]) if date else None,
    )


def find_architecture(name: str) -> str | None:
    """Return the key of the model that all models of an architecture count as; None if the shape is unknown."""
    key = find_model_key(name)
    return _ARCHITECTURES.get(key, key) if key else None


def build_served(row: Mapping[str, str]) -> PublishedServer:
    model = find_architecture("deepseek-ai/DeepSeek-R1" if row["id"].startswith("dsr1") else row["model_path"])
    if model is None:
        raise ValueError(f"the shape of the model {row['model_path']} is unknown")
    if row["system"] not in ACCELERATORS:
        raise ValueError(f"the GPU type {row['system']} is unknown")
    if row["backend"] not in ENGINES:
        raise ValueError(f"the engine {row['backend']} is unknown")
    accelerators, attention_replicas, expert_parallel = find_layout(row)
    return PublishedServer(
        model=model,
        accelerator=ACCELERATORS[row["system"]],
        precision=_find_precision(row),
        engine=ENGINES[row["backend"]],
        version=row["backend_version"] or "unknown",
        accelerators=accelerators,
        attention_replicas=attention_replicas,
        expert_parallel=expert_parallel,
    )


def find_layout(row: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the numbers of accelerators, of copies of attention, and the expert parallelism."""
    tp, dp, moe_tp, moe_ep = (
        int(_number(row[key]) or 0) for key in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    moe_tp, moe_ep = max(moe_tp, 1), max(moe_ep, 1)
    if not dp:
        dp = max(1, moe_tp * moe_ep // tp)
    is_multiplied = "gap" not in row["silicon_data_source"]
    if is_multiplied and moe_tp == moe_ep > 1 and moe_tp * moe_ep == tp * dp:
        return moe_tp, moe_tp if dp > 1 else 1, moe_tp
    if is_multiplied and row["backend"] == "vllm" and tp == dp > 1 and moe_ep == tp * dp:
        return tp, 1, tp
    return tp * dp, dp, min(moe_ep, tp * dp)


def find_recipe(point: PublishedPoint, recipes: Container[str]) -> str | None:
    """Return the script for the server of a point, which states the flags of the engine, among the names of `recipes`;
    None if there is none."""
    prefix = _PREFIXES.get(point.served.model)
    if point.image is None or prefix is None:
        return None
    gpu = point.served.accelerator.split("-")[0]
    stem = f"{prefix}_{point.served.precision}_{gpu}"
    default_engine = "vllm" if prefix in ("gptoss", "minimaxm2.5") else "sglang"
    suffixes = {"vllm": ["_vllm"], "sglang": ["_sglang"], "trtllm": ["_trt"]}[point.served.engine]
    if point.served.engine == default_engine:
        suffixes.append("")
    return next((name for suffix in suffixes if (name := f"{stem}{suffix}.sh") in recipes), None)


def _find_image(source_text: str) -> str | None:
    image = re.search(r"image=([^;]+)", source_text)
    if image:
        return image[1].strip().replace("#", "/")
    last = source_text.split("; ")[-1]
    return last.replace("#", "/") if source_text.startswith("db-dump") and "=" not in last else None


def _find_clients(row: Mapping[str, str]) -> float | None:
    clients = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
    return float(clients[1]) if clients else _number(row["batch_size"])


def _find_precision(row: Mapping[str, str]) -> str:
    name = row["model_path"].lower()
    if row["precision"]:
        return "fp4" if row["precision"] in ("int4", "nvfp4", "mxfp4") else row["precision"]
    if row["gemm_quant_mode"]:
        return {"fp8": "fp8", "fp8_block": "fp8", "nvfp4": "fp4"}.get(row["gemm_quant_mode"], "bf16")
    if "fp8" in name:
        return "fp8"
    return "fp4" if "fp4" in name or "gpt-oss" in name else "bf16"


def _number(text: str) -> float | None:
    return float(text) if text.strip() else None


def iterate_curves(points: Iterable[PublishedPoint]) -> Iterator[tuple[object, ...]]:
    """Return the key of the curve of each point."""
    for point in points:
        yield (point.served, point.input_tokens, point.output_tokens, point.image, point.measured_on)
