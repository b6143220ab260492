"""ONNX graphs of decoders for ONNX Runtime GenAI, built from a shape and weights.

There are two kinds with the same mathematics. A contiguous decoder keeps the KV cache of each
sequence in one tensor, uses the fused attention of ONNX Runtime, and processes static batches. A
paged decoder keeps the KV cache in blocks that all requests share, for continuous batching. On the
CPU, ONNX Runtime has no kernel for paged attention, so the paged decoder uses standard operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.inference.generation.decoder_shape import QUANTIZATION_BLOCK, DecoderShape, Floats, PagedCache, Weights
from app.inference.inspection.costs import TIED_EMBEDDING_KEY

CONTRIB_DOMAIN = "com.microsoft"
_IR_VERSION, _OPSET = 10, 21
_ALIGNMENT = 4096
"""Alignment in bytes of the weights in a weights file, so that they can be mapped into memory."""
_MASKED_SCORE = -1e9
_MIN_SCALE = 1e-9
_MIN_STORED_BYTES = 1024
"""Size in bytes from which a constant is stored in the weights file, if there is one."""

Dimensions = list[int | str]
ValueList = list[tuple[str, int, Dimensions]]
Attention = Callable[[int, str, str, str], str]
"""Function that adds the attention of a layer, given the names of its queries, keys and values, and
returns the name of the attended values."""


class WeightsFile:
    """A file in the folder of the model, to which large weights are written while the graph is
    built, so that they are never all in memory."""

    def __init__(self, location: str, file: BinaryIO) -> None:
        self._location, self._file = location, file

    def write(self, name: str, values: npt.NDArray[np.generic]) -> onnx.TensorProto:
        """Write the values at the end of the file, and return a tensor that refers to them."""
        padding = -self._file.tell() % _ALIGNMENT
        self._file.write(bytes(padding))
        tensor = onnx.TensorProto(
            name=name,
            dims=values.shape,
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", self._location), ("offset", self._file.tell()), ("length", values.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(np.ascontiguousarray(values).data)
        return tensor


def build_contiguous_decoder(
    shape: DecoderShape, weights: Weights, weights_file: WeightsFile | None = None
) -> onnx.ModelProto:
    """Build a decoder with one KV cache per sequence, of shape [batch, KV heads, tokens, head size].
    Large weights are written to `weights_file`, if it is set."""
    graph = _Graph(weights_file=weights_file)
    layers = _DecoderLayers(graph, shape, weights)
    cosines, sines = layers.add_rotary_tables()
    one = graph.add_integers(1)
    mask_sums = graph.add_node("ReduceSum", "attention_mask", one, keepdims=0)
    last_positions = graph.add_node("Cast", graph.add_node("Sub", mask_sums, one), to=TensorProto.INT32)
    mask_lengths = graph.add_node(
        "Gather", graph.add_node("Shape", "attention_mask"), graph.add_constant(np.array(1, np.int64))
    )
    total_length = graph.add_node("Cast", mask_lengths, to=TensorProto.INT32)

    def add_attention(layer: int, queries: str, keys: str, values: str) -> str:
        return graph.add_node(
            "GroupQueryAttention",
            queries,
            keys,
            values,
            f"past_key_values.{layer}.key",
            f"past_key_values.{layer}.value",
            last_positions,
            total_length,
            cosines,
            sines,
            outputs=[f"attention.{layer}", f"present.{layer}.key", f"present.{layer}.value"],
            domain=CONTRIB_DOMAIN,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=int(shape.is_rotary_interleaved),
            scale=float(shape.head_dim**-0.5),
        )

    layers.add_logits(layers.add_layers(add_attention))
    past: Dimensions = ["batch_size", shape.kv_heads, "past_sequence_length", shape.head_dim]
    present: Dimensions = ["batch_size", shape.kv_heads, "total_sequence_length", shape.head_dim]
    return graph.build_model(
        inputs=[
            ("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
            ("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
            *_list_cache_values("past_key_values", shape.layers, past),
        ],
        outputs=[
            ("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", shape.vocabulary]),
            *_list_cache_values("present", shape.layers, present),
        ],
    )


def build_paged_decoder(
    shape: DecoderShape, cache: PagedCache, weights: Weights, weights_file: WeightsFile | None = None
) -> onnx.ModelProto:
    """Build a decoder whose KV cache has the shape [blocks, tokens per block, KV heads, head size].
    Large weights are written to `weights_file`, if it is set.

    The tokens of all requests are concatenated. The logits have one row per request, for its last
    token."""
    graph = _Graph(weights_file=weights_file)
    layers = _DecoderLayers(graph, shape, weights)
    attention = _PagedAttention(graph, shape, cache, layers.add_rotary_tables())
    hidden_states = layers.add_layers(attention.add_layer)
    layers.add_logits(graph.add_node("Gather", hidden_states, attention.last_tokens))
    blocks: Dimensions = ["num_blocks", cache.block_tokens, shape.kv_heads, shape.head_dim]
    return graph.build_model(
        inputs=[
            ("input_ids", TensorProto.INT64, ["num_tokens"]),
            ("cumulative_sequence_lengths", TensorProto.INT32, ["batch_plus_1"]),
            ("past_sequence_lengths", TensorProto.INT32, ["batch"]),
            ("block_table", TensorProto.INT32, ["batch", "max_blocks"]),
            ("attention_metadata", TensorProto.INT32, [3]),
            *_list_cache_values("past_key_values", shape.layers, blocks),
        ],
        outputs=[
            ("logits", TensorProto.FLOAT, ["batch_size", shape.vocabulary]),
            *_list_cache_values("present", shape.layers, blocks),
        ],
    )


def _list_cache_values(prefix: str, layers: int, dimensions: Dimensions) -> ValueList:
    return [
        (f"{prefix}.{layer}.{kind}", TensorProto.FLOAT, dimensions)
        for layer in range(layers)
        for kind in ("key", "value")
    ]


class _Graph:
    """A graph under construction. Each method adds to the graph and returns the name of the new
    value."""

    def __init__(self, prefix: str = "", weights_file: WeightsFile | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.metadata: dict[str, str] = {}
        self._constants: list[onnx.TensorProto] = []
        self._prefix, self._weights_file = prefix, weights_file

    def add_constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"{self._prefix}constant_{len(self._constants)}"
        if self._weights_file is not None and values.nbytes >= _MIN_STORED_BYTES:
            self._constants.append(self._weights_file.write(name, values))
        else:
            self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def add_integers(self, *values: int) -> str:
        return self.add_constant(np.array(values, np.int64))

    def add_node(
        self, operator: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any
    ) -> str:
        """Add a node and return the name of its first output."""
        name = f"{self._prefix}{operator}_{len(self.nodes)}"
        output_names = list(outputs) or [name]
        self.nodes.append(helper.make_node(operator, list(inputs), output_names, name, domain=domain, **attributes))
        return output_names[0]

    def build_model(self, inputs: ValueList, outputs: ValueList) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "decoder",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB_DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="sizewise")
        helper.set_model_props(model, self.metadata)
        return model


class _DecoderLayers:
    """The layers of a decoder apart from the attention itself, which differs by kind."""

    def __init__(self, graph: _Graph, shape: DecoderShape, weights: Weights) -> None:
        self._graph, self._shape, self._weights = graph, shape, weights

    def add_rotary_tables(self) -> tuple[str, str]:
        """Add the cosines and sines of the rotary embedding, each of shape
        [context, head size / 2]."""
        shape = self._shape
        frequencies = shape.rotary_base ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
        if shape.rotary_divisors:
            frequencies = frequencies / np.array(shape.rotary_divisors)
        angles = np.outer(np.arange(shape.context), frequencies)
        cosines = self._graph.add_constant(np.cos(angles).astype(np.float32))
        return cosines, self._graph.add_constant(np.sin(angles).astype(np.float32))

    def add_layers(self, add_attention: Attention) -> str:
        """Add the embedding and all layers, and return the normalized hidden states."""
        graph, shape = self._graph, self._shape
        embedding = graph.add_constant(self._weights.load_embedding(shape.vocabulary, shape.hidden))
        if shape.is_embedding_tied:
            graph.metadata[TIED_EMBEDDING_KEY] = embedding
        states = graph.add_node("Gather", embedding, "input_ids")
        for layer in range(shape.layers):
            block = f"blk.{layer}"
            normalized = self._add_norm(states, f"{block}.attn_norm")
            queries = self._add_projection(normalized, f"{block}.attn_q", shape.hidden)
            keys = self._add_projection(normalized, f"{block}.attn_k", shape.kv_columns)
            values = self._add_projection(normalized, f"{block}.attn_v", shape.kv_columns)
            attended = add_attention(layer, queries, keys, values)
            attention = self._add_linear(attended, f"{block}.attn_output", shape.hidden, shape.hidden)
            states = graph.add_node("Add", states, attention)
            normalized = self._add_norm(states, f"{block}.ffn_norm")
            gate = self._add_linear(normalized, f"{block}.ffn_gate", shape.hidden, shape.feed_forward)
            up = self._add_linear(normalized, f"{block}.ffn_up", shape.hidden, shape.feed_forward)
            activated = graph.add_node("Mul", graph.add_node("Mul", gate, graph.add_node("Sigmoid", gate)), up)
            down = self._add_linear(activated, f"{block}.ffn_down", shape.feed_forward, shape.hidden)
            states = graph.add_node("Add", states, down)
        return self._add_norm(states, "output_norm")

    def add_logits(self, hidden_states: str) -> None:
        self._add_linear(hidden_states, "output", self._shape.hidden, self._shape.vocabulary, outputs=("logits",))

    def _add_norm(self, values: str, name: str) -> str:
        scale = self._graph.add_constant(self._weights.load_norm(name, self._shape.hidden))
        return self._graph.add_node(
            "SimplifiedLayerNormalization", values, scale, axis=-1, epsilon=self._shape.norm_epsilon
        )

    def _add_projection(self, values: str, name: str, columns: int) -> str:
        """Add the matrix, and the bias if there is one, of queries, keys or values."""
        product = self._add_linear(values, name, self._shape.hidden, columns)
        if not self._shape.has_attention_bias:
            return product
        return self._graph.add_node("Add", product, self._graph.add_constant(self._weights.load_bias(name, columns)))

    def _add_linear(self, values: str, name: str, rows: int, columns: int, outputs: Sequence[str] = ()) -> str:
        matrix = self._weights.load_matrix(name, rows, columns)
        bits = self._shape.weight_bits
        if bits == 32:
            return self._graph.add_node("MatMul", values, self._graph.add_constant(matrix), outputs=outputs)
        packed, scales = _quantize(matrix, bits)
        # At this accuracy level, the kernel rounds the activations to int8, which amplifies the rounding differences
        # between fused and paged attention: greedy tokens may differ where two are almost equally probable.
        return self._graph.add_node(
            "MatMulNBits",
            values,
            self._graph.add_constant(packed),
            self._graph.add_constant(scales),
            outputs=outputs,
            domain=CONTRIB_DOMAIN,
            K=rows,
            N=columns,
            bits=bits,
            block_size=QUANTIZATION_BLOCK,
            accuracy_level=4,
        )


def _quantize(matrix: Floats, bits: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Round a matrix of shape [rows, columns] to integers around a zero point of 2^(bits − 1), with
    the largest absolute value of each block as its scale.

    Return the integers, of shape [columns, rows / 32, 32] or half of it with two integers per byte,
    and the scales, of shape [columns × rows / 32]."""
    rows, columns = matrix.shape
    zero_point = 1 << (bits - 1)
    blocks = matrix.T.reshape(columns, rows // QUANTIZATION_BLOCK, QUANTIZATION_BLOCK)
    scales = np.abs(blocks).max(2, keepdims=True) / (zero_point - 1) + np.float32(_MIN_SCALE)
    integers = (np.clip(np.rint(blocks / scales), -zero_point, zero_point - 1) + zero_point).astype(np.uint8)
    packed = integers[..., 0::2] | (integers[..., 1::2] << 4) if bits == 4 else integers
    return packed, scales.reshape(-1).astype(np.float32)


class _PagedAttention:
    """Attention over a paged KV cache, with standard operators.

    New keys and values are scattered into the blocks of their request. A loop over the requests
    then gathers the blocks of one request at a time, so that the work is proportional to the number
    of cached tokens, without padding."""

    def __init__(self, graph: _Graph, shape: DecoderShape, cache: PagedCache, rotary_tables: tuple[str, str]) -> None:
        self._graph, self._shape, self._rotary_tables = graph, shape, rotary_tables
        self._block_tokens = cache.block_tokens
        add, one, end = graph.add_node, graph.add_constant(np.array(1, np.int64)), graph.add_integers(2**62)
        zero = graph.add_constant(np.array(0, np.int64))
        self._axis0, self._axis1 = graph.add_integers(0), graph.add_integers(1)
        self._cumulative = add("Cast", "cumulative_sequence_lengths", to=TensorProto.INT64)
        self._past = add("Cast", "past_sequence_lengths", to=TensorProto.INT64)
        self._block_table = add("Cast", "block_table", to=TensorProto.INT64)
        token = add("Range", zero, add("Squeeze", add("Shape", "input_ids")), one)
        ends = add("Slice", self._cumulative, self._axis1, end, self._axis0)
        self.last_tokens = add("Sub", ends, one)
        """Name of the indices of the last token of each request."""
        is_past_end = add("GreaterOrEqual", add("Unsqueeze", token, self._axis1), add("Unsqueeze", ends, self._axis0))
        request = add("ReduceSum", add("Cast", is_past_end, to=TensorProto.INT64), self._axis1, keepdims=0)
        position_in_step = add("Sub", token, add("Gather", self._cumulative, request))
        position = add("Add", position_in_step, add("Gather", self._past, request))
        block_tokens = graph.add_constant(np.array(cache.block_tokens, np.int64))
        column = add("Div", position, block_tokens)
        table_index = add(
            "Concat", add("Unsqueeze", request, self._axis1), add("Unsqueeze", column, self._axis1), axis=1
        )
        block = add("Unsqueeze", add("GatherND", self._block_table, table_index), self._axis1)
        slot = add("Unsqueeze", add("Mod", position, block_tokens), self._axis1)
        self._cache_index = add("Concat", block, slot, axis=1)
        self._positions = add("Unsqueeze", position, self._axis0)
        self._request_count = add("Squeeze", add("Shape", self._past))
        self._kv_shape = graph.add_integers(-1, shape.kv_heads, shape.head_dim)
        self._grouped_shape = graph.add_integers(-1, shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim)
        self._flat_shape = graph.add_integers(-1, shape.hidden)
        self._scale = graph.add_constant(np.array(shape.head_dim**-0.5, np.float32))
        self._masked_score = graph.add_constant(np.array(_MASKED_SCORE, np.float32))
        self._always = graph.add_constant(np.array(True))
        self._no_rows = graph.add_constant(np.zeros((0, shape.hidden), np.float32))

    def add_layer(self, layer: int, queries: str, keys: str, values: str) -> str:
        add, shape = self._graph.add_node, self._shape
        grouped_queries = add("Reshape", self._add_rotary(queries, shape.heads), self._grouped_shape)
        cached_keys = add(
            "ScatterND",
            f"past_key_values.{layer}.key",
            self._cache_index,
            self._add_rotary(keys, shape.kv_heads),
            outputs=[f"present.{layer}.key"],
        )
        cached_values = add(
            "ScatterND",
            f"past_key_values.{layer}.value",
            self._cache_index,
            add("Reshape", values, self._kv_shape),
            outputs=[f"present.{layer}.value"],
        )
        body = self._build_request_body(layer, grouped_queries, cached_keys, cached_values)
        return add("Loop", self._request_count, self._always, self._no_rows, body=body)

    def _add_rotary(self, values: str, heads: int) -> str:
        """Rotate values of shape [tokens, heads × head size]; the result has the shape
        [tokens, heads, head size]."""
        add, shape = self._graph.add_node, self._shape
        by_head = add("Reshape", values, self._graph.add_integers(-1, heads, shape.head_dim))
        batched = add("Unsqueeze", add("Transpose", by_head, perm=[1, 0, 2]), self._axis0)
        rotated = add(
            "RotaryEmbedding",
            batched,
            self._positions,
            *self._rotary_tables,
            domain=CONTRIB_DOMAIN,
            interleaved=int(shape.is_rotary_interleaved),
        )
        return add("Transpose", add("Squeeze", rotated, self._axis0), perm=[1, 0, 2])

    def _build_request_body(self, layer: int, queries: str, keys: str, values: str) -> onnx.GraphProto:
        """Build the body of the loop over the requests: the attention of one request, appended to
        the attended values of the requests before it."""
        shape, axis0, axis1 = self._shape, self._axis0, self._axis1
        body = _Graph(f"layer_{layer}.")
        add, integers = body.add_node, self._graph.add_integers
        request = add("Unsqueeze", "request", axis0)
        first = add("Gather", self._cumulative, request)
        last = add("Gather", self._cumulative, add("Add", request, axis1))
        own_queries = add("Slice", queries, first, last, axis0)  # [new tokens, KV heads, group, head size]
        count = add("Sub", last, first)
        length = add("Add", add("Gather", self._past, request), count)
        block_count = add("Div", add("Add", length, integers(self._block_tokens - 1)), integers(self._block_tokens))
        own_table = add("Gather", self._block_table, "request", axis=0)
        block_ids = add("Slice", own_table, axis0, block_count, axis0)
        own_keys, own_values = (
            add("Slice", add("Reshape", add("Gather", cached, block_ids), self._kv_shape), axis0, length, axis0)
            for cached in (keys, values)
        )  # [cached tokens, KV heads, head size]
        kv_rows = add(
            "Reshape", add("Transpose", own_queries, perm=[1, 2, 0, 3]), integers(shape.kv_heads, -1, shape.head_dim)
        )  # [KV heads, group × new tokens, head size]
        scores = add("Mul", add("MatMul", kv_rows, add("Transpose", own_keys, perm=[1, 2, 0])), self._scale)
        scores_by_head = add("Reshape", scores, add("Concat", integers(shape.heads), count, integers(-1), axis=0))
        mask = add(
            "Trilu",
            add("Expand", self._masked_score, add("Concat", count, length, axis=0)),
            add("Squeeze", add("Add", add("Sub", length, count), axis1)),
            upper=1,
        )
        probabilities = add("Softmax", add("Add", scores_by_head, mask), axis=-1)
        probabilities_by_group = add(
            "Reshape", probabilities, add("Concat", integers(shape.kv_heads, -1), length, axis=0)
        )
        attended = add("MatMul", probabilities_by_group, add("Transpose", own_values, perm=[1, 0, 2]))
        attended_by_head = add(
            "Reshape", attended, add("Concat", integers(shape.heads), count, integers(shape.head_dim), axis=0)
        )
        flat = add("Reshape", add("Transpose", attended_by_head, perm=[1, 0, 2]), self._flat_shape)
        rows = add("Concat", "previous_rows", flat, axis=0)
        must_continue = add("Identity", "continue")
        describe = helper.make_tensor_value_info
        return helper.make_graph(
            body.nodes,
            f"request_of_layer_{layer}",
            [
                describe("request", TensorProto.INT64, []),
                describe("continue", TensorProto.BOOL, []),
                describe("previous_rows", TensorProto.FLOAT, ["previous_tokens", shape.hidden]),
            ],
            [
                describe(must_continue, TensorProto.BOOL, []),
                describe(rows, TensorProto.FLOAT, ["tokens", shape.hidden]),
            ],
        )
