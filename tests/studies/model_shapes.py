"""The bundled table of language models, computed from their configurations by the rules of `models inspect`.

`python -m tests.studies.model_shapes` writes it. `model_configs.json` has, for each model, the names that it is
published under, the parameters that its authors state, and the keys of its `config.json` that determine its shape.
Parameters of draft layers, vision encoders and indexers of sparse attention are not counted.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import msgspec

from app.inference.inspection.huggingface_config import HuggingFaceConfig, build_architecture
from app.profiles.language_models import TABLE, ListedModel
from app.records.planning_inputs import LanguageModel

CONFIGS = Path(__file__).with_name("model_configs.json")


class PublishedModel(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    published_parameters: float
    published_active: float | None
    config: dict[str, Any]


def load_published_models() -> dict[str, PublishedModel]:
    return msgspec.json.decode(CONFIGS.read_bytes(), type=dict[str, PublishedModel])


def compute_shape(config: dict[str, Any]) -> LanguageModel:
    """Return the shape that a configuration determines."""
    architecture = build_architecture(msgspec.convert(config, HuggingFaceConfig), ())
    counts = dict(architecture.counts)
    counts.setdefault("linear_layers", 0)  # without tensors, only layer_types tells of layers without attention
    total, active = count_parameters(config)
    return LanguageModel(
        parameters=float(total), active_parameters=float(active) if "experts" in counts else None, **counts
    )


def count_parameters(config: dict[str, Any]) -> tuple[int, int]:
    """Return the number of parameters, and how many a token uses."""
    hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    linear_layers = sum(kind == "linear_attention" for kind in config.get("layer_types", ()))
    attention = (layers - linear_layers) * _count_attention(config, hidden, heads)
    if linear_layers:
        keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
        values = config["linear_num_value_heads"] * config["linear_value_head_dim"]
        attention += linear_layers * hidden * (2 * keys + 3 * values + 2 * config["linear_num_value_heads"])
    experts = config.get("num_local_experts") or config.get("num_experts") or config.get("n_routed_experts") or 0
    moe_layers = layers - config.get("first_k_dense_replace", 0) if experts else 0
    dense = (layers - moe_layers) * 3 * hidden * config["intermediate_size"]
    if not experts:
        return embeddings + attention + dense, embeddings + attention + dense
    expert = 3 * hidden * config["moe_intermediate_size"]
    shared = config.get("n_shared_experts", 0) * expert + 3 * hidden * config.get("shared_expert_intermediate_size", 0)
    always = embeddings + attention + dense + moe_layers * (shared + hidden * experts)
    return always + moe_layers * experts * expert, always + moe_layers * config["num_experts_per_tok"] * expert


def _count_attention(config: dict[str, Any], hidden: int, heads: int) -> int:
    if "kv_lora_rank" in config:
        queries, latent, rope = config["q_lora_rank"], config["kv_lora_rank"], config["qk_rope_head_dim"]
        nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
        count: int = (
            hidden * queries + queries * heads * (nope + rope) + hidden * (latent + rope)
            + latent * heads * (nope + value) + heads * value * hidden
        )  # fmt: skip
        return count
    size = config.get("head_dim") or hidden // heads
    gated = 1 if config.get("attn_output_gate") else 0
    return hidden * size * ((2 + gated) * heads + 2 * int(config["num_key_value_heads"]))


def list_models() -> list[ListedModel]:
    return [
        ListedModel(key, model.names, compute_shape(model.config)) for key, model in load_published_models().items()
    ]


def format_table(models: list[ListedModel]) -> str:
    text = io.StringIO()
    shape_fields = LanguageModel.__struct_fields__
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "names", *shape_fields))
    for model in models:
        values = msgspec.structs.asdict(model.shape)
        writer.writerow((model.key, ";".join(model.names), *(_format_cell(values[name]) for name in shape_fields)))
    return text.getvalue()


def _format_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    TABLE.write_text(format_table(list_models()), encoding="utf-8")
