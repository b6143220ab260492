"""A safetensors file, or the configuration or index beside one, inspected without the weights; the first byte chooses
which of them the input is."""

from __future__ import annotations

import json
from collections.abc import Iterable

from app.inference.inspection.language_model import read_language_model
from tests.fakes.language_model_files import Tensors, published_model, write_folder, write_safetensors
from tests.fuzz.scratch import input_file, scratch_folder

_TENSORS: Tensors = {
    "model.embed_tokens.weight": ("BF16", (8, 4)),
    "model.layers.0.self_attn.k_proj.weight": ("BF16", (4, 4)),
    "model.layers.0.mlp.experts.0.w1.weight": ("U8", (4, 4)),
}


def read(data: bytes) -> None:
    with input_file(data, "model.safetensors", "config.json", "model.safetensors.index.json") as path:
        if path.name != "model.safetensors":
            write_safetensors(path.with_name("model.safetensors"), _TENSORS)
        read_language_model(path.parent)


def seeds() -> Iterable[bytes]:
    with scratch_folder() as folder:
        yield b"\0" + write_safetensors(folder / "model.safetensors", _TENSORS).read_bytes()
        write_folder(folder / "sharded", _TENSORS, {}, shards=2)
        yield b"\2" + (folder / "sharded" / "model.safetensors.index.json").read_bytes()
    for name in ("smollm2-135m", "gemma-2-9b", "gpt-oss-20b"):
        yield b"\1" + json.dumps(published_model(name).config).encode()
    config = published_model("deepseek-v3").config
    yield b"\1" + json.dumps({"architectures": ["A"], "text_config": config}).encode()
