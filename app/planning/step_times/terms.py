"""Terms of the step time of a language model: what a step reads, computes, sends and starts, in seconds at the figures
of the data sheets.

`ServerTable` has one entry for each server, so that thousands of published servers and one planned server are computed
by the same code. All times are of one step of one replica.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from app.planning.hardware.rates import Unavailable, get_weights_peak_ops_per_s
from app.planning.language_models.memory import GIB, compute_kv_bytes, compute_usable_bytes
from app.planning.language_models.weights import divide_weights
from app.planning.step_times.positive_sum import Floats, Term
from app.records.evidence import PublishedServer
from app.records.offers import Accelerator
from app.records.planning_inputs import LanguageModel

PCIE_BYTES_PER_S = 25e9
_MEMORY_SHARE = 0.92
"""Share of the usable memory that a published server allocates."""
_RESERVED_BYTES = 1.5 * GIB
_HALF_BYTES = 2.0
"""Bytes of a value of an activation."""
_BLACKWELL = ("Blackwell", "Blackwell Ultra")
_LIKE = {"int8": "fp8", "int4": "bf16", "fp16": "bf16", "fp32": "bf16"}
"""Precision with published points whose effects weights without any have: kernels for weights of 8 bits scale
activations, and those for 4-bit integers, like those for 16 bits, do not."""

LAUNCH, MEMORY, PREFILL, OTHER = "launch", "memory", "prefill", "other"
"""Parts of the step time that effects of groups multiply."""

DECODE_TERMS = (
    Term("weights", MEMORY, 1.3),
    Term("experts", MEMORY, 1.5),
    Term("kv", MEMORY, 1.5),
    Term("arithmetic", OTHER, 1.5),
    Term("expert_arithmetic", OTHER, 2.0),
    Term("latent_attention", OTHER, 2.0),
    Term("layer", LAUNCH, 5.0, 1e-5),
    Term("expert_layer", LAUNCH, 3.0, 1e-5),
    Term("latent_layer", LAUNCH, 2.0, 1e-5),
    Term("reduce_latency", LAUNCH, 0.7, 1e-5),
    Term("reduce", OTHER, 2.0),
    Term("exchange_latency", LAUNCH, 5.0, 1e-5),
    Term("exchange", OTHER, 2.0),
    Term("sequence", OTHER, 1.0, 1e-5),
    Term("started_expert", OTHER, 0.1, 1e-6),
)
"""Terms of a decode step. Units of the coefficients: 1 is the figure of the data sheet; latencies are in 10 µs a
layer, ms a step, 10 µs a sequence, and µs for each expert of a layer that a step starts."""
PREFILL_TERMS = (
    Term("prefill_arithmetic", PREFILL, 1.6),
    Term("prefill_expert_arithmetic", PREFILL, 2.5),
    Term("prefill_attention", PREFILL, 2.0),
    Term("prefill_reduce", PREFILL, 1.5),
    Term("prefill_exchange", PREFILL, 1.5),
    Term("prompt", PREFILL, 3.0, 1e-3),
    Term("prefill_layer", PREFILL, 5.0, 1e-5),
    Term("prefill_experts", PREFILL, 1.5),
)
"""Terms of the prefill of a prompt, which decoding sequences wait for."""


class Server(msgspec.Struct, frozen=True):
    """A replica that serves a language model: the shape of the model, the data sheet of the accelerator, and the data
    type of the KV cache. `source` is the kind of server, published or planned."""

    served: PublishedServer
    shape: LanguageModel
    accelerator: Accelerator
    kv_dtype: str
    source: str
    compute: str | None = None
    """Data type of the arithmetic; None for that of the weights. Weights of 4 bits are always multiplied by the units
    that the accelerator has for them."""


@dataclasses.dataclass(frozen=True)
class ServerTable:
    """Quantities of servers that the terms depend on, an array each. Parameters are counts, rates are per second."""

    columns: Mapping[str, Sequence[str]]
    accelerators: Floats
    copies: Floats
    split: Floats
    layers: Floats
    full_layers: Floats
    window_layers: Floats
    window_tokens: Floats
    hidden: Floats
    attention_width: Floats
    latent: Floats
    experts: Floats
    experts_per_token: Floats
    expert_parameters: Floats
    other_parameters: Floats
    head_parameters: Floats
    expert_bytes: Floats
    common_read_bytes: Floats
    bandwidth: Floats
    expert_peak: Floats
    other_peak: Floats
    half_peak: Floats
    link: Floats
    cache_bytes: Floats
    kv_long: Floats
    """Bytes of the KV cache that a token adds on each accelerator of its copy of attention."""
    kv_window: Floats
    """The same within the window of layers with sliding attention."""

    def compute_kv_bytes(self, tokens: Floats) -> Floats:
        """Return the bytes of a sequence of `tokens` tokens in the KV cache of an accelerator."""
        return self.kv_long * tokens + self.kv_window * np.minimum(tokens, self.window_tokens)

    def count_cached_sequences(self, tokens: Floats) -> Floats:
        """Return how many sequences of `tokens` tokens fit in the cache of one copy of attention; at least one."""
        sequence_bytes = np.maximum(self.compute_kv_bytes(tokens), 1.0)
        return np.maximum(1.0, self.cache_bytes / sequence_bytes)

    def count_experts_read(self, tokens: Floats) -> Floats:
        """Return the expected number of experts of a layer to which a step over `tokens` tokens routes any."""
        missed = np.where(self.experts > 0, 1 - self.experts_per_token / np.maximum(self.experts, 1), 0.0)
        return np.asarray(self.experts * (1 - missed**tokens))


def build_server_table(servers: Sequence[Server]) -> ServerTable | Unavailable:
    """Return the quantities of all servers, or why those of one of them are unknown."""
    rows = []
    for server in servers:
        row = _compute_row(server)
        if isinstance(row, Unavailable):
            return row
        rows.append(row)
    arrays = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
    return ServerTable(columns=_label(servers), **arrays)


def _label(servers: Sequence[Server]) -> dict[str, list[str]]:
    """Return the columns that groups of servers differ in."""
    return {
        "engine": [server.served.engine for server in servers],
        "version": [server.served.version for server in servers],
        "model": [server.served.model for server in servers],
        "gpu": [server.served.accelerator for server in servers],
        "precision": [_LIKE.get(server.served.precision, server.served.precision) for server in servers],
        "kind": ["dense" if server.shape.experts is None else "experts" for server in servers],
        "generation": [
            "Blackwell" if server.accelerator.architecture in _BLACKWELL else server.accelerator.architecture
            for server in servers
        ],
        "accelerators": [str(server.served.accelerators) for server in servers],
        "source": [server.source for server in servers],
    }


def _compute_row(server: Server) -> dict[str, float] | Unavailable:
    """Return the figures of a server that the formulas of step times need, one per column of the table: counts, bytes
    per accelerator, and peak rates in bytes/s and operations/s. Return Unavailable if the memory size, the memory
    bandwidth or a peak rate of the accelerator is unknown."""
    served, shape, accelerator = server.served, server.shape, server.accelerator
    usable_bytes = compute_usable_bytes(accelerator)
    if isinstance(usable_bytes, Unavailable):
        return usable_bytes
    peaks = {}
    weights = divide_weights(shape, served.precision)
    compute = None if served.precision == "fp4" else server.compute
    for name, precision in (
        ("expert", compute or served.precision),
        ("other", compute or weights.other_dtype),
        ("half", "bf16"),
    ):
        peak = get_weights_peak_ops_per_s(accelerator, precision)
        if isinstance(peak, Unavailable):
            return peak
        peaks[name] = peak
    if not accelerator.memory_bandwidth_gb_s:
        return Unavailable("unknown_figure", f"the memory bandwidth of {accelerator.name} is unknown")
    split = served.tensor_parallel
    weight_bytes = weights.common_weight_bytes / split + weights.expert_weight_bytes / served.accelerators
    window = shape.window_tokens or 0
    long_bytes = compute_kv_bytes(
        msgspec.structs.replace(shape, window_layers=0, layers=1, linear_layers=0), 1, server.kv_dtype, split
    )
    full_layers = shape.layers - shape.window_layers - shape.linear_layers
    return {
        "accelerators": served.accelerators, "copies": served.attention_replicas, "split": split,
        "layers": shape.layers, "full_layers": full_layers,
        "window_layers": shape.window_layers, "window_tokens": window, "hidden": shape.hidden,
        "attention_width": shape.heads * shape.head_dim,
        "latent": shape.heads * shape.latent_dim if shape.latent_dim else 0.0,
        "experts": weights.experts, "experts_per_token": weights.experts_per_token,
        "expert_parameters": weights.expert_parameters,
        "other_parameters": weights.other_parameters, "head_parameters": weights.head_parameters,
        "expert_bytes": weights.expert_bytes, "common_read_bytes": weights.common_read_bytes,
        "bandwidth": accelerator.memory_bandwidth_gb_s * 1e9,
        "expert_peak": peaks["expert"], "other_peak": peaks["other"], "half_peak": peaks["half"],
        "link": accelerator.interconnect_gb_s * 1e9 / 2 if accelerator.interconnect_gb_s else PCIE_BYTES_PER_S,
        "cache_bytes": _MEMORY_SHARE * usable_bytes - weight_bytes - _RESERVED_BYTES,
        "kv_long": long_bytes * full_layers, "kv_window": long_bytes * shape.window_layers,
    }  # fmt: skip


def compute_decode_terms(table: ServerTable, batch: Floats, tokens: Floats) -> Floats:
    """Return the terms of a step in which `batch` sequences of `tokens` tokens emit one token each, in the order of
    `DECODE_TERMS`. `batch` counts the sequences of all copies of attention."""
    local = batch / table.copies
    is_split, has_copies = table.split > 1, table.copies > 1
    has_experts = table.experts > 0
    terms = {
        "weights": table.common_read_bytes / table.split / table.bandwidth,
        "experts": table.count_experts_read(batch)
        * table.expert_parameters
        * table.expert_bytes
        / table.accelerators
        / table.bandwidth,
        "kv": local * table.compute_kv_bytes(tokens) / table.bandwidth,
        "arithmetic": 2
        * local
        * (table.other_parameters / table.other_peak + table.head_parameters / table.half_peak)
        / table.split,
        "expert_arithmetic": 2
        * batch
        * table.experts_per_token
        * table.expert_parameters
        / table.accelerators
        / table.expert_peak,
        "latent_attention": 4 * local * table.latent * tokens * table.full_layers / table.split / table.half_peak,
        "layer": table.layers,
        "expert_layer": has_experts * table.layers,
        "latent_layer": (table.latent > 0) * table.layers,
        "reduce_latency": is_split * table.layers * (2 + np.log2(np.maximum(table.split, 2) / 2)),
        "reduce": is_split * 2 * table.layers * _ring(table) * local * table.hidden * _HALF_BYTES / table.link,
        "exchange_latency": has_copies * table.layers,
        "exchange": has_copies * _exchange(table, batch),
        "sequence": local,
        "started_expert": table.layers * table.count_experts_read(batch),
    }
    return _stack(terms, DECODE_TERMS, batch.shape)


def compute_prefill_terms(
    table: ServerTable, tokens: Floats, batch: Floats, prefix_tokens: Floats | float = 0.0
) -> Floats:
    """Return the terms of the prefill of a prompt of `tokens` tokens while `batch` sequences decode, in the order of
    `PREFILL_TERMS`, as the time by which it delays them. The prefix cache has `prefix_tokens` further tokens before
    them, which only their attention reads."""
    attended_tokens = prefix_tokens + tokens / 2
    windows = table.window_layers * np.minimum(table.window_tokens, attended_tokens)
    extra_experts = table.count_experts_read(tokens) - table.count_experts_read(batch)
    terms = {
        "prefill_arithmetic": 2 * table.other_parameters * tokens / (table.accelerators * table.other_peak),
        "prefill_expert_arithmetic": 2
        * table.experts_per_token
        * table.expert_parameters
        * tokens
        / (table.accelerators * table.expert_peak),
        "prefill_attention": 4
        * table.attention_width
        * tokens
        * (table.full_layers * attended_tokens + windows)
        / (table.accelerators * table.half_peak),
        "prefill_reduce": (table.split > 1)
        * 2
        * table.layers
        * _ring(table)
        * tokens
        / table.copies
        * table.hidden
        * _HALF_BYTES
        / table.link,
        "prefill_exchange": (table.copies > 1) * _exchange(table, tokens),
        "prompt": 1 / table.copies,
        "prefill_layer": table.layers / table.copies,
        "prefill_experts": np.maximum(extra_experts, 0)
        * table.expert_parameters
        * table.expert_bytes
        / table.accelerators
        / table.bandwidth,
    }
    return _stack(terms, PREFILL_TERMS, tokens.shape)


def _stack(values: Mapping[str, Floats], terms: Sequence[Term], shape: tuple[int, ...]) -> Floats:
    """Return the values of the terms as columns, in the order of `terms`."""
    return np.column_stack([np.broadcast_to(np.asarray(values[term.name], dtype=np.float64), shape) for term in terms])


def _ring(table: ServerTable) -> Floats:
    """Return how often an accelerator sends and receives a tensor that is summed over all of them."""
    return np.asarray(2 * (table.split - 1) / table.split)


def _exchange(table: ServerTable, tokens: Floats) -> Floats:
    """Return the seconds in which tokens are sent to their experts in 8 bits and back in 16 bits."""
    sent_bytes = table.layers * table.experts_per_token * tokens * table.hidden * 3
    return np.asarray(sent_bytes / (table.accelerators * table.link))
