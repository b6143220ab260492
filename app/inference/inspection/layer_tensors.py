"""Derive from the names and shapes of stored tensors what a configuration does not state: how many
layers have a KV cache, the size of the keys, and the totals of the weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from app.inference.tensor_spec import StoredTensor
from app.records.language_model import WeightTotals

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|blk)\.(\d{1,5})\.")
_KEY_TENSORS = (
    (".k_proj.weight", ".k_proj.qweight", ".k_proj.weight_packed", ".attn_k.weight"),
    ("kv_a_proj_with_mqa.weight", "kv_a_proj_with_mqa.qweight", "attn_kv_a_mqa.weight"),
    ("qkv_proj.weight", "query_key_value.weight", "c_attn.weight", "Wqkv.weight", "attn_qkv.weight"),
)
"""Endings of the names of the projection that computes the keys, in order of preference: of its own,
as part of latent attention, or together with queries and values."""
_KEY_AXES = {(".k_proj.weight", ".v_proj.weight"): 0, (".attn_k.weight", ".attn_v.weight"): 1}
"""Axis with the keys or values of all heads, by the endings of the names of the tensors."""
_OUTSIDE_DECODER = ("vision", "visual", "audio", "image", "mm.", "v.blk", "a.blk", "mtp.")
"""Parts of names of tensors in other modalities, and in draft layers with numbers of their own."""


NO_KEY_TENSORS = "no tensor with a known name computes keys for a KV cache"


def find_layer(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to; `None` if it belongs to none."""
    match = _LAYER.search(name)
    return None if match is None else int(match[1])


def count_attention_layers(tensors: Sequence[StoredTensor], layers: int) -> int | None:
    """Return the number of layers that compute keys for a KV cache; `None` if no such tensor is
    known."""
    for endings in _KEY_TENSORS:
        layer_numbers = {find_layer(tensor.name) for tensor in tensors if _is_in_decoder(tensor.name, endings)}
        count = sum(layer is not None and layer < layers for layer in layer_numbers)
        if count:
            return count
    return None


def find_key_sizes(tensors: Sequence[StoredTensor], layers: int) -> set[int]:
    """Return the sizes of the keys and values of a token, over all heads and for all layers; empty if
    no tensor states them. More than one size means that layers differ."""
    sizes = set()
    for tensor in tensors:
        if len(tensor.shape) != 2 or tensor.dtype == "uint8":
            continue
        for endings, axis in _KEY_AXES.items():
            if _is_in_decoder(tensor.name, endings):
                layer = find_layer(tensor.name)
                if layer is not None and layer < layers:
                    sizes.add(tensor.shape[axis])
    return sizes


def _is_in_decoder(name: str, endings: tuple[str, ...]) -> bool:
    return name.endswith(endings) and not any(word in name for word in _OUTSIDE_DECODER)


def sum_weights(
    tensors: Iterable[StoredTensor],
    layers: int | None,
    is_expert: Callable[[str], bool],
    count_parameters: Callable[[StoredTensor], int | None],
) -> WeightTotals:
    """Return the totals of the tensors of a model. Layers beyond `layers` are draft layers.

    `count_parameters` returns the number of parameters in a tensor: `None` if its layout is
    unknown."""
    tensor_count = parameters = expert_parameters = draft_parameters = 0
    is_complete = True
    bytes_by_dtype: Counter[str] = Counter()
    for tensor in tensors:
        tensor_count += 1
        bytes_by_dtype[tensor.dtype] += tensor.size_bytes
        count = count_parameters(tensor)
        if count is None:
            is_complete = False
            continue
        parameters += count
        layer = find_layer(tensor.name)
        if tensor.name.startswith("mtp.") or (layer is not None and layers is not None and layer >= layers):
            draft_parameters += count
        elif is_expert(tensor.name):
            expert_parameters += count
    return WeightTotals(
        tensors=tensor_count,
        parameters=parameters if is_complete else None,
        expert_parameters=expert_parameters,
        draft_parameters=draft_parameters,
        size_bytes=bytes_by_dtype.total(),
        bytes_by_dtype=dict(bytes_by_dtype.most_common()),
    )
