"""Files of public language models without their weights: real headers and configurations, and holes where the weights
would be. The shapes are those of the published configurations."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Data type in the file and shape of each tensor, by name."""

BITS = {"F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "U8": 8, "I32": 32, "I64": 64, "F4": 4}
GGUF_BLOCKS = {0: (1, 4), 1: (1, 2), 12: (256, 144), 39: (32, 17)}
"""Elements and bytes of a block, by the number of the type."""
_F32, _F16, _MXFP4 = 0, 1, 39
_GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm", "sinks": "attn_sinks", "q_a_proj": "attn_q_a", "q_b_proj": "attn_q_b",
    "kv_a_proj_with_mqa": "attn_kv_a_mqa", "kv_b_proj": "attn_kv_b", "q_a_layernorm": "attn_q_a_norm",
    "kv_a_layernorm": "attn_kv_a_norm", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "pre_ffw_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "gate": "ffn_gate_inp", "router": "ffn_gate_inp", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
    "down_proj": "ffn_down", "gate_up_proj": "ffn_gate_up", "e_score_correction_bias": "exp_probs_b.bias",
}  # fmt: skip
"""Names of tensors in GGUF, by the last part of their names in the format of Hugging Face."""


def write_safetensors(path: Path, tensors: Tensors, **changes: Any) -> Path:
    """Write a header and a hole; `changes` replaces entries of the header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    return write_header(path, msgspec.json.encode(header | changes), position)


def write_header(path: Path, header: bytes, data_bytes: int, declared_bytes: int | None = None) -> Path:
    with path.open("wb") as file:
        length = len(header) if declared_bytes is None else declared_bytes
        file.write(length.to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + data_bytes)
    return path


def write_folder(folder: Path, tensors: Tensors, config: Mapping[str, Any], shards: int = 1) -> Path:
    """Write a folder in the format of Hugging Face, with an index if it has several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    names = list(tensors)
    weight_map = {}
    for shard in range(shards):
        file_name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        write_safetensors(folder / file_name, part)
        weight_map.update(dict.fromkeys(part, file_name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


GgufTensors = dict[str, tuple[int, tuple[int, ...]]]
"""Number of the type and shape of each tensor, innermost axis first, by name."""


def gguf_text(text: str | bytes) -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content


def gguf_value(value: Any) -> bytes:
    """Encode a value with its type."""
    if isinstance(value, bytes):  # encoded already
        return value
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<IQ", 10, value) if value >= 2**32 else struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_text(value)
    layout = "?" if isinstance(value[0], bool) else "I"
    number = 7 if isinstance(value[0], bool) else 4
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_text, value))
    return struct.pack(f"<IIQ{len(value)}{layout}", 9, number, len(value), *value)


def gguf_tensor(name: str, type_number: int, shape: tuple[int, ...], offset: int) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return gguf_text(name) + axes + struct.pack("<IQ", type_number, offset)


def gguf_start(tensor_count: int, key_count: int, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, tensor_count, key_count)


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: GgufTensors) -> Path:
    """Write a header and a hole."""
    header = gguf_start(len(tensors), len(metadata))
    header += b"".join(gguf_text(key) + gguf_value(value) for key, value in metadata.items())
    offset = 0
    for name, (type_number, shape) in tensors.items():
        header += gguf_tensor(name, type_number, shape, offset)
        elements, size = GGUF_BLOCKS[type_number]
        offset += -(-math.prod(shape) // elements * size // 32) * 32
    with path.open("wb") as file:
        file.write(header)
        file.truncate(-(-len(header) // 32) * 32 + offset)
    return path


def convert_to_gguf(model: Published, architecture: str, **keys: Any) -> tuple[dict[str, Any], GgufTensors]:
    """Return the metadata and tensors of a model as llama.cpp converts it: experts stacked, no draft layers."""
    config = model.config
    metadata: dict[str, Any] = {"general.architecture": architecture, "tokenizer.ggml.tokens": ["a", "b"]}
    values = {
        "block_count": config["num_hidden_layers"], "embedding_length": config["hidden_size"],
        "context_length": config["max_position_embeddings"], "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"], "attention.key_length": config.get("head_dim"),
        **keys,
    }  # fmt: skip
    metadata |= {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    tensors: GgufTensors = {}
    for name, (_, shape) in model.tensors.items():
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if name.endswith(("_scale_inv", "_scales")) or (layer and int(layer[1]) >= config["num_hidden_layers"]):
            continue
        prefix = f"blk.{layer[1]}." if layer else ""
        parts = name.removesuffix(".weight").removesuffix(".bias").split(".")
        ending = ".bias" if name.endswith((".bias", "_bias")) and not name.endswith("correction_bias") else ".weight"
        base = parts[-1].removesuffix("_blocks")
        if base != "e_score_correction_bias":
            base = base.removesuffix("_bias")
        if name.endswith("_blocks"):
            tensors[f"{prefix}{_GGUF_NAMES[base]}_exps.weight"] = (_MXFP4, (shape[2] * 32, shape[1], shape[0]))
        elif "experts" in parts and parts[-2].isdigit():
            stacked_name = f"{prefix}{_GGUF_NAMES[base]}_exps.weight"
            count = tensors.get(stacked_name, (0, (0, 0, 0)))[1][2]
            tensors[stacked_name] = (_F16, (shape[1], shape[0], count + 1))
        elif "experts" in parts:
            tensors[f"{prefix}{_GGUF_NAMES[base]}_exps.bias"] = (_F32, tuple(reversed(shape)))
        else:
            new_name = _GGUF_NAMES.get(f"model.{base}") or _GGUF_NAMES.get(base) or base
            if not layer:
                new_name = _GGUF_NAMES.get(".".join(parts), new_name)
            new_name += "_shexp" if "shared_experts" in parts else ""
            tensors[f"{prefix}{new_name}{'' if new_name.endswith('.bias') else ending}"] = (
                _F32 if len(shape) == 1 else _F16,
                tuple(reversed(shape)),
            )
    return metadata, tensors


class Published(NamedTuple):
    """A public model with its published figures. `kv_bytes` are per token, in 16 bits."""

    config: dict[str, Any]
    tensors: Tensors
    parameters: int
    kv_bytes: int
    window_kv_bytes: int | None = None
    active_parameters: float | None = None


def _decoder(
    config: Mapping[str, Any],
    feed_forward: Mapping[str, tuple[int, ...]],
    *,
    bias: bool = False,
    norms: Iterable[str] = ("input_layernorm", "post_attention_layernorm"),
    head_norms: bool = False,
    tied: bool = False,
) -> Tensors:
    """Return the tensors of a decoder with grouped-query attention; `feed_forward` has the shapes of a layer's further
    tensors."""
    hidden, heads, kv_heads = (
        config[f"{key}"] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    size = config.get("head_dim", hidden // heads)
    rows = {"q_proj": heads * size, "k_proj": kv_heads * size, "v_proj": kv_heads * size}
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", (config["vocab_size"], hidden))}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, count in rows.items():
            tensors[f"{prefix}self_attn.{name}.weight"] = ("BF16", (count, hidden))
            if bias:
                tensors[f"{prefix}self_attn.{name}.bias"] = ("BF16", (count,))
        tensors[f"{prefix}self_attn.o_proj.weight"] = ("BF16", (hidden, heads * size))
        if head_norms:
            tensors |= {f"{prefix}self_attn.{name}.weight": ("BF16", (size,)) for name in ("q_norm", "k_norm")}
        tensors |= {f"{prefix}{name}.weight": ("BF16", (hidden,)) for name in norms}
        tensors |= {f"{prefix}{name}": ("BF16", shape) for name, shape in feed_forward.items()}
    tensors["model.norm.weight"] = ("BF16", (hidden,))
    if not tied:
        tensors["lm_head.weight"] = ("BF16", (config["vocab_size"], hidden))
    return tensors


def _gated(hidden: int, inner: int, prefix: str = "mlp.") -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}gate_proj.weight": (inner, hidden),
        f"{prefix}up_proj.weight": (inner, hidden),
        f"{prefix}down_proj.weight": (hidden, inner),
    }


def _config(model_type: str, layers: int, hidden: int, heads: int, kv_heads: int, vocabulary: int, context: int,
            **others: Any) -> dict[str, Any]:  # fmt: skip
    return {
        "architectures": [f"{model_type.title()}ForCausalLM"], "model_type": model_type, "num_hidden_layers": layers,
        "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
        "max_position_embeddings": context, "torch_dtype": "bfloat16", **others,
    }  # fmt: skip


def _llama(*shape: int, inner: int, **others: Any) -> tuple[dict[str, Any], Tensors]:
    config = _config("llama", *shape)
    return config, _decoder(config, _gated(config["hidden_size"], inner), **others)


def _mixtral() -> tuple[dict[str, Any], Tensors]:
    config = _config(
        "mixtral", 32, 4096, 32, 8, 32000, 32768, num_local_experts=8, num_experts_per_tok=2, sliding_window=None
    )
    experts: dict[str, tuple[int, ...]] = {"block_sparse_moe.gate.weight": (8, 4096)}
    for expert in range(8):
        prefix = f"block_sparse_moe.experts.{expert}."
        experts |= {f"{prefix}w1.weight": (14336, 4096), f"{prefix}w2.weight": (4096, 14336)}
        experts |= {f"{prefix}w3.weight": (14336, 4096)}
    return config, _decoder(config, experts)


def _qwen3_moe() -> tuple[dict[str, Any], Tensors]:
    config = _config(
        "qwen3_moe", 48, 2048, 32, 4, 151936, 40960, head_dim=128, num_experts=128, num_experts_per_tok=8,
        sliding_window=None, use_sliding_window=False, max_window_layers=48,
    )  # fmt: skip
    experts: dict[str, tuple[int, ...]] = {"mlp.gate.weight": (128, 2048)}
    for expert in range(128):
        experts |= _gated(2048, 768, f"mlp.experts.{expert}.")
    return config, _decoder(config, experts, head_norms=True)


def _gemma2() -> tuple[dict[str, Any], Tensors]:
    config = _config("gemma2", 42, 3584, 16, 8, 256000, 8192, head_dim=256, sliding_window=4096)
    norms = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return config, _decoder(config, _gated(3584, 14336), norms=norms, tied=True)


def _phi3() -> tuple[dict[str, Any], Tensors]:
    config = _config("phi3", 32, 3072, 32, 32, 32064, 4096, sliding_window=2047)
    tensors = _decoder(config, {"mlp.gate_up_proj.weight": (16384, 3072), "mlp.down_proj.weight": (3072, 8192)})
    for name in [name for name in tensors if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]:
        del tensors[name]
    tensors |= {f"model.layers.{layer}.self_attn.qkv_proj.weight": ("BF16", (9216, 3072)) for layer in range(32)}
    return config, tensors


def _gpt_oss(layers: int, experts: int) -> tuple[dict[str, Any], Tensors]:
    """The weights of the experts are packed: two 4-bit values in a byte, and a scale for 32 of them."""
    config = _config(
        "gpt_oss", layers, 2880, 64, 8, 201088, 131072, head_dim=64, num_local_experts=experts, num_experts_per_tok=4,
        experts_per_token=4, sliding_window=128, layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    )  # fmt: skip
    others = {
        "self_attn.o_proj.bias": (2880,), "self_attn.sinks": (64,), "mlp.router.weight": (experts, 2880),
        "mlp.router.bias": (experts,), "mlp.experts.gate_up_proj_bias": (experts, 5760),
        "mlp.experts.down_proj_bias": (experts, 2880),
    }  # fmt: skip
    tensors = _decoder(config, others, bias=True)
    for layer in range(layers):
        for name, rows in (("gate_up_proj", 5760), ("down_proj", 2880)):
            prefix = f"model.layers.{layer}.mlp.experts.{name}"
            tensors |= {
                f"{prefix}_blocks": ("U8", (experts, rows, 90, 16)),
                f"{prefix}_scales": ("U8", (experts, rows, 90)),
            }
    return config, tensors


def _deepseek_v3() -> tuple[dict[str, Any], Tensors]:
    """61 layers, of which the first three are dense, and a layer that predicts a second token."""
    config = _config(
        "deepseek_v3", 61, 7168, 128, 128, 129280, 163840, n_routed_experts=256, num_experts_per_tok=8,
        n_shared_experts=1, kv_lora_rank=512, q_lora_rank=1536, qk_rope_head_dim=64, qk_nope_head_dim=128,
        v_head_dim=128, num_nextn_predict_layers=1, first_k_dense_replace=3,
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]},
    )  # fmt: skip
    tensors: Tensors = {
        "model.embed_tokens.weight": ("BF16", (129280, 7168)),
        "lm_head.weight": ("BF16", (129280, 7168)),
        "model.norm.weight": ("BF16", (7168,)),
    }

    def add(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, (rows, columns) in shapes.items():
            tensors[f"{prefix}{name}"] = ("F8_E4M3", (rows, columns))
            tensors[f"{prefix}{name}_scale_inv"] = ("F32", (-(-rows // 128), -(-columns // 128)))

    for layer in range(62):
        prefix = f"model.layers.{layer}."
        norms = {"input_layernorm": 7168, "post_attention_layernorm": 7168, "self_attn.q_a_layernorm": 1536,
                 "self_attn.kv_a_layernorm": 512}  # fmt: skip
        tensors |= {f"{prefix}{name}.weight": ("BF16", (length,)) for name, length in norms.items()}
        attention = {"q_a_proj": (1536, 7168), "q_b_proj": (24576, 1536), "kv_a_proj_with_mqa": (576, 7168),
                     "kv_b_proj": (32768, 512), "o_proj": (7168, 16384)}  # fmt: skip
        add(prefix, {f"self_attn.{name}.weight": shape for name, shape in attention.items()})
        if layer < 3:
            add(prefix, _gated(7168, 18432))
            continue
        tensors[f"{prefix}mlp.gate.weight"] = ("BF16", (256, 7168))
        tensors[f"{prefix}mlp.gate.e_score_correction_bias"] = ("F32", (256,))
        add(prefix, _gated(7168, 2048, "mlp.shared_experts."))
        for expert in range(256):
            add(prefix, _gated(7168, 2048, f"mlp.experts.{expert}."))
    tensors |= {
        "model.layers.61.embed_tokens.weight": ("BF16", (129280, 7168)),
        "model.layers.61.shared_head.head.weight": ("BF16", (129280, 7168)),
        "model.layers.61.eh_proj.weight": ("BF16", (7168, 14336)),
        **{f"model.layers.61.{name}.weight": ("BF16", (7168,)) for name in ("enorm", "hnorm", "shared_head.norm")},
    }
    return config, tensors


def _qwen2() -> tuple[dict[str, Any], Tensors]:
    config = _config(
        "qwen2", 28, 3584, 28, 4, 152064, 131072, sliding_window=131072, use_sliding_window=False, max_window_layers=28
    )
    return config, _decoder(config, _gated(3584, 18944), bias=True)


def published_model(name: str) -> Published:
    """Return a model with the figures of its card or paper, which are named beside each."""
    return {
        # Hugging Face lists 8,030,261,248 parameters in the files of meta-llama/Llama-3.1-8B
        "llama-3.1-8b": lambda: Published(
            *_llama(32, 4096, 32, 8, 128256, 131072, inner=14336), 8_030_261_248, 131_072
        ),
        # … and 70,553,706,496 in those of Llama-3.1-70B
        "llama-3.1-70b": lambda: Published(
            *_llama(80, 8192, 64, 8, 128256, 131072, inner=28672), 70_553_706_496, 327_680
        ),
        # Table 1 of "Insights into DeepSeek-V3" (arXiv 2505.09343): 516.096 KB for a token
        "llama-3.1-405b": lambda: Published(
            *_llama(126, 16384, 128, 8, 128256, 131072, inner=53248), 405_853_388_800, 516_096
        ),
        # card: 7.61 B parameters; 7,615,616,512 in the files
        "qwen2.5-7b": lambda: Published(*_qwen2(), 7_615_616_512, 57_344),
        # card: 30.5 B parameters, 3.3 B activated
        "qwen3-30b-a3b": lambda: Published(*_qwen3_moe(), 30_532_122_624, 98_304, None, 3.3e9),
        # paper (arXiv 2401.04088): 47 B parameters, of which a token uses 13 B; announced as 46.7 B and 12.9 B
        "mixtral-8x7b": lambda: Published(*_mixtral(), 46_702_792_704, 131_072, None, 12.9e9),
        # card: 671 B in the main model and 14 B to predict a second token, 37 B activated; the files have
        # 680,571,043,840 elements in FP8, 3,918,786,560 in BF16, and 41,555,600 in F32, mostly scales
        "deepseek-v3": lambda: Published(*_deepseek_v3(), 684_489_845_504, 70_272, None, 37e9),
        # 9,241,705,984 parameters in the files of google/gemma-2-9b; every other layer has a window of 4,096
        "gemma-2-9b": lambda: Published(*_gemma2(), 9_241_705_984, 344_064, 172_032),
        # card: 3.8 B parameters; 3,821,079,552 in the files of Phi-3-mini-4k-instruct
        "phi-3-mini": lambda: Published(*_phi3(), 3_821_079_552, 393_216, 0),
        # Table 1 of the model card (arXiv 2508.10925): 20.91 B and 116.83 B parameters; 3.61 B and 5.13 B active
        # without the embedding of 201,088 × 2,880
        "gpt-oss-20b": lambda: Published(*_gpt_oss(24, 32), 20_914_757_184, 49_152, 24_576, 3.61e9 + 201_088 * 2880),
        "gpt-oss-120b": lambda: Published(*_gpt_oss(36, 128), 116_829_156_672, 73_728, 36_864, 5.13e9 + 201_088 * 2880),
        # 134,515,008 parameters in the files of HuggingFaceTB/SmolLM2-135M
        "smollm2-135m": lambda: Published(
            *_llama(30, 576, 9, 3, 49152, 8192, inner=1536, tied=True), 134_515_008, 23_040
        ),
    }[name]()
