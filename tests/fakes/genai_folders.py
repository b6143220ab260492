"""Folders for ONNX Runtime GenAI with a small decoder that is inspected, not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, VOCABULARY = 2, 64, 4, 2, 16, 96
_DOMAIN = "com.microsoft"


def genai_config(**changes: Any) -> dict[str, Any]:
    """Return the configuration; `changes` replaces keys of the decoder."""
    decoder = {
        "filename": "model.onnx", "head_size": HEAD, "hidden_size": HIDDEN, "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "num_key_value_heads": KV_HEADS,
        "inputs": {"past_key_names": "past_key_values.%d.key"}, **changes,
    }  # fmt: skip
    return {"model": {"type": "llama", "vocab_size": VOCABULARY, "context_length": 2048, "decoder": decoder}}


def genai_folder(folder: Path, *, experts: int = 0, **changes: Any) -> Path:
    """Write a folder whose decoder has an embedding, 4-bit matrix products with K = 64 and N = 96, a cache in float16,
    and, with `experts`, a layer of 4-bit experts of which a token uses two."""
    graph = _Graph()
    embedding = graph.store("embedding", np.ones((VOCABULARY, HIDDEN), np.float16))
    graph.add("Gather", [embedding, "input_ids"], "x1")
    graph.add("Unsqueeze", ["x1", graph.store("axis", np.array([0], np.int64))], "x2")
    graph.add("Squeeze", ["x2", "axis"], "x0")
    shape: list[str | int | None] = ["batch", KV_HEADS, "past", HEAD]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    for layer in range(LAYERS):
        name = f"past_key_values.{layer}.key"
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape))
        packed = graph.store(f"w{layer}", np.zeros((VOCABULARY, 2, 16), np.uint8))
        scales = graph.store(f"s{layer}", np.ones((VOCABULARY, 2), np.float16))
        points = graph.store(f"z{layer}", np.zeros((VOCABULARY, 1), np.uint8))
        attributes = {"K": HIDDEN, "N": VOCABULARY, "bits": 4, "block_size": 32}
        graph.add("MatMulNBits", ["x0", packed, scales, points], f"y{layer}", domain=_DOMAIN, **attributes)
    if experts:
        fc1 = graph.store("fc1", np.zeros((experts, 128, HIDDEN // 2), np.uint8))
        fc2 = graph.store("fc2", np.zeros((experts, HIDDEN, 64), np.uint8))
        scale1, scale2 = (
            graph.store(name, np.ones((experts, rows), np.float16)) for name, rows in (("e1", 128), ("e2", HIDDEN))
        )
        names = ["x0", "x0", fc1, scale1, "", fc2, scale2]
        graph.add("QMoE", names, "z", domain=_DOMAIN, k=2, expert_weight_bits=4)
    outputs = [
        helper.make_tensor_value_info(f"y{layer}", TensorProto.FLOAT16, ["batch", "sequence", VOCABULARY])
        for layer in range(LAYERS)
    ]
    if experts:
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, ["batch", "sequence", HIDDEN]))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_DOMAIN, 1)]
    graph_proto = helper.make_graph(graph.nodes, "decoder", inputs, outputs, graph.weights)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(helper.make_model(graph_proto, opset_imports=opsets, ir_version=10), folder / "model.onnx")
    (folder / "genai_config.json").write_text(json.dumps(genai_config(**changes)))
    (folder / "tokenizer.json").write_text("{}")
    return folder


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[TensorProto] = []

    def store(self, name: str, values: Any) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], f"{operator}_{output}", **attributes))
