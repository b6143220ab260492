"""The costs of a random decoder are counted here by hand: 2 layers, 64 hidden values, 4 heads of 16, 2 KV heads, 128
feed-forward values, 512 tokens of vocabulary, positions up to 2,048."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.inference.generation.decoder_costs import read_decoder_costs
from app.inference.generation.decoder_files import write_random_decoder
from app.inference.generation.decoder_shape import WeightBits
from app.inference.generation.model_folder import GenerativeModel, read_model_folder
from app.inference.inspection.costs import TIED_EMBEDDING_KEY
from app.records.generation import AttentionLayers, DecoderCosts
from tests.fakes import decoders

LAYER_WEIGHTS = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128
HEAD_WEIGHTS = 64 * 512
MATRIX_WEIGHTS = 2 * LAYER_WEIGHTS + HEAD_WEIGHTS
NORM_BYTES = (2 * 2 + 1) * 64 * 4
SCALE_BYTES = MATRIX_WEIGHTS // 32 * 4
POSITION_CONSTANTS = 2 * 8
"""Two integers, from which the positions are computed."""
ROTARY_ROW = 2 * 8 * 4

FULL_PRECISION = DecoderCosts(
    parameters=MATRIX_WEIGHTS + 512 * 64 + NORM_BYTES // 4,
    weight_bytes_by_dtype={"float32": MATRIX_WEIGHTS * 4 + NORM_BYTES, "int64": POSITION_CONSTANTS},
    table_bytes=512 * 64 * 4 + 2048 * ROTARY_ROW,
    table_bytes_per_token=64 * 4 + ROTARY_ROW,
    product_flops_per_token=2 * 2 * LAYER_WEIGHTS,
    head_flops=2 * HEAD_WEIGHTS,
    logits_bytes=512 * 4,
    has_all_logits=True,
    attention=(AttentionLayers(2),),
    attention_flops_per_layer=4 * 4 * 16,
    kv_bytes_per_layer=2 * 2 * 16 * 4,
    float_type="fp32",
    has_int8_products=False,
)


def save_graph(folder: Path, graph: onnx.GraphProto | None = None) -> GenerativeModel:
    model = onnx.load(folder / "model.onnx")
    if graph is not None:
        model.graph.CopyFrom(graph)
        onnx.save(model, folder / "model.onnx")
    return read_model_folder(folder)


def write_decoder_graph(folder: Path) -> onnx.GraphProto:
    return onnx.load(decoders.contiguous(folder) / "model.onnx").graph


def test_costs_of_a_full_precision_decoder_are_exact(tmp_path: Path) -> None:
    assert read_decoder_costs(read_model_folder(decoders.contiguous(tmp_path))) == FULL_PRECISION


@pytest.mark.parametrize(("bits", "packed_bytes"), [(8, MATRIX_WEIGHTS), (4, MATRIX_WEIGHTS // 2)])
def test_quantized_weights_are_counted_with_stored_bytes(tmp_path: Path, bits: WeightBits, packed_bytes: int) -> None:
    """FLOPs are those of the full-precision decoder; the matrix products may use int8 activations."""
    weight_bytes = {"uint8": packed_bytes, "float32": SCALE_BYTES + NORM_BYTES, "int64": POSITION_CONSTANTS}
    assert read_decoder_costs(read_model_folder(decoders.contiguous(tmp_path, bits))) == msgspec.structs.replace(
        FULL_PRECISION, weight_bytes_by_dtype=weight_bytes, has_int8_products=True
    )


def test_parameters_of_a_tied_embedding_are_counted_once(tmp_path: Path) -> None:
    """The graph has a copy of the embedding as output matrix, which each step reads."""
    path = decoders.contiguous(tmp_path) / "model.onnx"
    graph_model = onnx.load(path)
    embedding = next(
        node.input[0] for node in graph_model.graph.node if node.op_type == "Gather" and "input_ids" in node.input
    )
    graph_model.metadata_props.add(key=TIED_EMBEDDING_KEY, value=embedding)
    onnx.save(graph_model, path)
    costs = read_decoder_costs(read_model_folder(tmp_path))
    assert costs == msgspec.structs.replace(FULL_PRECISION, parameters=FULL_PRECISION.parameters - HEAD_WEIGHTS)


def test_tied_embedding_key_without_an_embedding_is_ignored(tmp_path: Path) -> None:
    path = decoders.contiguous(tmp_path) / "model.onnx"
    graph_model = onnx.load(path)
    graph_model.metadata_props.add(key=TIED_EMBEDDING_KEY, value="logits")
    onnx.save(graph_model, path)
    assert read_decoder_costs(read_model_folder(tmp_path)) == FULL_PRECISION


def test_kv_cache_bytes_scale_with_kv_heads(tmp_path: Path) -> None:
    shape = msgspec.structs.replace(decoders.shape(), kv_heads=4)
    write_random_decoder(tmp_path, shape, decoders.SEED)
    costs = read_decoder_costs(read_model_folder(tmp_path))
    assert costs.kv_bytes_per_layer == 2 * FULL_PRECISION.kv_bytes_per_layer
    assert costs.kv_bytes_per_layer * 2 == shape.kv_bytes_per_token
    assert costs.attention_flops_per_layer == FULL_PRECISION.attention_flops_per_layer
    more_weights = 2 * 2 * 64 * 32
    assert costs.product_flops_per_token == FULL_PRECISION.product_flops_per_token + 2 * more_weights
    assert costs.weight_bytes == FULL_PRECISION.weight_bytes + 4 * more_weights


def test_paged_decoder_computes_only_the_last_logits(tmp_path: Path) -> None:
    costs = read_decoder_costs(read_model_folder(decoders.paged(tmp_path)))
    assert not costs.has_all_logits
    assert costs.unknown_reason is None
    unaffected = (
        "parameters",
        "head_flops",
        "product_flops_per_token",
        "kv_bytes_per_layer",
        "attention",
        "table_bytes_per_token",
    )
    assert [getattr(costs, name) for name in unaffected] == [getattr(FULL_PRECISION, name) for name in unaffected]


def test_logits_output_with_one_position_has_only_the_last_logits(tmp_path: Path) -> None:
    graph = write_decoder_graph(tmp_path)
    axis = graph.output[0].type.tensor_type.shape.dim[1]
    axis.ClearField("dim_param")
    axis.dim_value = 1
    assert not read_decoder_costs(save_graph(tmp_path, graph)).has_all_logits


def test_embedding_used_as_output_projection_counts_as_weights(tmp_path: Path) -> None:
    graph = write_decoder_graph(tmp_path)
    embedding = next(node for node in graph.node if node.op_type == "Gather" and node.input[1] == "input_ids").input[0]
    graph.node[-1].op_type = "Gemm"
    graph.node[-1].input[1] = embedding
    graph.node[-1].attribute.append(helper.make_attribute("transB", 1))
    assert read_decoder_costs(save_graph(tmp_path, graph)) == msgspec.structs.replace(
        FULL_PRECISION,
        parameters=FULL_PRECISION.parameters - HEAD_WEIGHTS,
        table_bytes=2048 * ROTARY_ROW,
        table_bytes_per_token=ROTARY_ROW,
    )


def test_attention_windows_are_read_from_the_operators(tmp_path: Path) -> None:
    graph = write_decoder_graph(tmp_path)
    attention = next(node for node in graph.node if node.op_type == "GroupQueryAttention")
    attention.attribute.append(helper.make_attribute("local_window_size", 512))
    costs = read_decoder_costs(save_graph(tmp_path, graph))
    assert costs.attention == (AttentionLayers(1), AttentionLayers(1, 512))


def test_costs_of_16_bit_weights_use_fp16(tmp_path: Path) -> None:
    graph = write_decoder_graph(tmp_path)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in graph.input:
        if len(value.type.tensor_type.shape.dim) == 4:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    costs = read_decoder_costs(save_graph(tmp_path, graph))
    assert (costs.float_type, costs.has_int8_products) == ("fp16", False)
    assert costs.kv_bytes_per_layer == FULL_PRECISION.kv_bytes_per_layer // 2
    assert costs.weight_bytes - POSITION_CONSTANTS == (FULL_PRECISION.weight_bytes - POSITION_CONSTANTS) // 2


def test_costs_of_unsupported_operators_are_unknown(tmp_path: Path) -> None:
    """For example a mixture of experts, which reads the weights of some experts only."""
    graph = write_decoder_graph(tmp_path)
    next(node for node in graph.node if node.op_type == "MatMul").op_type = "MoE"
    graph.node[0].op_type, graph.node[0].domain = "LinearAttention", "com.microsoft"
    for node in graph.node:
        node.domain = "com.microsoft" if node.op_type == "MoE" else node.domain
    costs = read_decoder_costs(save_graph(tmp_path, graph))
    assert costs.unknown_reason == "the cost of com.microsoft.LinearAttention, com.microsoft.MoE is unknown"


def test_costs_without_kv_cache_or_logits_are_unknown(tmp_path: Path) -> None:
    graph = write_decoder_graph(tmp_path)
    graph.output[0].type.tensor_type.shape.dim[2].dim_value = 511
    assert "no product that computes its logits" in str(read_decoder_costs(save_graph(tmp_path, graph)).unknown_reason)
    graph.input[2].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert "its KV cache is unknown" in str(read_decoder_costs(save_graph(tmp_path, graph)).unknown_reason)
