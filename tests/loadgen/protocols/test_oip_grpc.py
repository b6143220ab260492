import asyncio
from typing import Any

import numpy as np
import pytest

from loadgen.payloads.tensors import TensorError, TensorInput
from loadgen.protocols.oip_grpc import METADATA_METHOD, OipGrpc, OipStreamReader, get_infer_method, read_response
from loadgen.protocols.oip_tensors import ResponseError
from loadgen.protocols.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelStreamInferResponse,
)
from loadgen.protocols.prepared import ResponseCheck, check_response
from loadgen.transport.address import parse_grpc_url
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload
from tests.fakes.open_inference import floats, inputs

ADDRESS = parse_grpc_url("grpc://h:8001")
X = TensorInput("x", "FP32", (-1, 2))
ARRAYS = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([[1, -2]], np.int8),
    "INT16": np.array([[1, -2]], np.int16),
    "INT32": np.array([[1, -2]], np.int32),
    "INT64": np.array([[1, -(2**60)]], np.int64),
    "UINT8": np.array([[1, 2]], np.uint8),
    "UINT16": np.array([[1, 2]], np.uint16),
    "UINT32": np.array([[1, 2]], np.uint32),
    "UINT64": np.array([[1, 2**63]], np.uint64),
    "FP32": np.array([[1, -2]], np.float32),
    "FP64": np.array([[1, -2]], np.float64),
}


def make_exchange(message: ModelInferResponse, status: int = 200, number: int = 0) -> Exchange:
    exchange = Exchange(0, number, 0, b"", lambda _: None)
    exchange.status, exchange.body = status, message.SerializeToString()
    return exchange


def raw(datatype: str, shape: tuple[int, ...], *blobs: bytes) -> ModelInferResponse:
    output = ModelInferResponse.InferOutputTensor(name="y", datatype=datatype, shape=shape)
    return ModelInferResponse(outputs=[output], raw_output_contents=blobs)


def typed(datatype: str, shape: tuple[int, ...], **contents: Any) -> ModelInferResponse:
    output = ModelInferResponse.InferOutputTensor(
        name="y", datatype=datatype, shape=shape, contents=InferTensorContents(**contents)
    )
    return ModelInferResponse(outputs=[output])


def test_model_name_is_sent_unchanged_and_label_is_grpc_method() -> None:
    protocol = OipGrpc(OipWorkload("a/b c", version="2", transport="grpc"), ADDRESS)
    request = ModelInferRequest.FromString(protocol.encode_request([(X, ARRAYS["FP32"])], True))
    assert (request.model_name, request.model_version) == ("a/b c", "2")
    assert protocol.label == "grpc://h:8001/inference.GRPCInferenceService/ModelInfer"
    assert get_infer_method(OipWorkload("m", transport="grpc-stream")).endswith("/ModelStreamInfer")


def test_metadata_is_fetched_with_metadata_method() -> None:
    async def send(request: bytes, method: str = "", /) -> Exchange:
        assert method == METADATA_METHOD
        assert ModelMetadataRequest.FromString(request) == ModelMetadataRequest(name="m", version="3")
        exchange = Exchange(0, 0, 0, request, lambda _: None)
        exchange.status, exchange.body = 200, inputs(("x", "FP32", (-1, 2)), ("t", "INT64", ())).SerializeToString()
        return exchange

    protocol = OipGrpc(OipWorkload("m", version="3", transport="grpc"), ADDRESS)
    assert asyncio.run(protocol.fetch_inputs(send)) == (X, TensorInput("t", "INT64", ()))


@pytest.mark.parametrize("datatype", ARRAYS)
def test_tensors_are_encoded_and_decoded_raw_and_as_typed_contents(datatype: str) -> None:
    array, spec = ARRAYS[datatype], TensorInput("x", datatype, (-1, 2))
    protocol = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    sent = ModelInferRequest.FromString(protocol.encode_request([(spec, array)], True))
    assert (list(sent.inputs[0].shape), sent.inputs[0].datatype) == ([1, 2], datatype)
    assert not sent.inputs[0].HasField("contents")
    (decoded,) = read_response(raw(datatype, (1, 2), *sent.raw_input_contents))
    assert decoded.tolist() == array.tolist()

    sent = ModelInferRequest.FromString(protocol.encode_request([(spec, array)], False))
    assert not sent.raw_input_contents
    output = ModelInferResponse.InferOutputTensor(datatype=datatype, shape=[1, 2], contents=sent.inputs[0].contents)
    (decoded,) = read_response(ModelInferResponse(outputs=[output]))
    assert (decoded.dtype, decoded.tolist()) == (array.dtype, array.tolist())


def test_strings_are_encoded_raw_and_as_bytes_contents() -> None:
    spec, texts = TensorInput("x", "BYTES", (-1,)), np.array(["a", "éé"])
    protocol = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    (blob,) = ModelInferRequest.FromString(protocol.encode_request([(spec, texts)], True)).raw_input_contents
    assert blob == b"\x01\0\0\0a\x04\0\0\0" + "éé".encode()
    contents = ModelInferRequest.FromString(protocol.encode_request([(spec, texts)], False)).inputs[0].contents
    assert list(contents.bytes_contents) == [b"a", "éé".encode()]
    assert read_response(raw("BYTES", (2,), blob)) is not None
    assert read_response(typed("BYTES", (2,), bytes_contents=contents.bytes_contents)) is not None


def test_fp16_tensors_are_encoded_raw_only() -> None:
    tensors = [(TensorInput("x", "FP16", (-1,)), np.array([1.5], np.float16))]
    protocol = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    assert ModelInferRequest.FromString(protocol.encode_request(tensors, True)).raw_input_contents[0] == b"\x00\x3e"
    with pytest.raises(TensorError, match="raw bytes only"):
        protocol.encode_request(tensors, False)


@pytest.mark.parametrize(
    "response",
    [
        ModelInferResponse(),
        raw("FP32", (1, 2), b"1234567"),
        raw("FP32", (1, 2), b"12345678", b""),
        raw("FP32", (-1, 2), b""),
        raw("FP32", (0, 2**62, 2**62), b""),
        raw("FP32", (1,) * 70, b"1234"),
        raw("COMPLEX", (1,), b"1234"),
        raw("BYTES", (2,), b"\x09\0\0\0a"),
        typed("FP32", (3,), fp32_contents=[1, 2]),
        typed("INT64", (1,), fp32_contents=[1]),
        typed("INT8", (1,), int_contents=[300]),
        typed("FP16", (1,), fp32_contents=[1]),
        typed("BYTES", (2,), bytes_contents=[b"a"]),
    ],
)
def test_inconsistent_sizes_and_datatypes_are_bad_payload(response: ModelInferResponse) -> None:
    check = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS).build_check(None)
    assert check(make_exchange(response)) == ResponseCheck("bad-payload")


def test_response_is_checked_by_status_then_nan_then_labels() -> None:
    check = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS).build_check(np.array([[1], [0]]))
    assert check(make_exchange(floats(0, 1))) == ResponseCheck(None, 1)
    assert check(make_exchange(floats(0, 1), number=1)) == ResponseCheck(None, 0)
    assert check(make_exchange(floats(0, float("nan")))) == ResponseCheck("bad-output")
    assert check(make_exchange(floats(0, 1), status=404)) == ResponseCheck("http-4xx")
    assert check(make_exchange(floats(0, 1), status=501)) == ResponseCheck("http-5xx")
    garbage = make_exchange(floats(0, 1))
    garbage.body = b"\xff\xff"
    assert check(garbage) == ResponseCheck("bad-payload")


def feed(reader: OipStreamReader, *messages: ModelStreamInferResponse | ModelInferResponse) -> str | None:
    for at_ns, message in enumerate(messages, 1):
        if (error := reader.feed(message.SerializeToString(), at_ns)) is not None:
            return error
    return None


def make_stream_response(*values: float) -> ModelStreamInferResponse:
    return ModelStreamInferResponse(infer_response=floats(*values))


def make_stream_exchange(reader: OipStreamReader) -> Exchange:
    exchange = Exchange(0, 0, 0, b"", lambda _: None, False, reader)
    exchange.status = 200
    return exchange


def test_streamed_responses_are_timed_and_first_is_compared_with_labels() -> None:
    reader = OipStreamReader()
    assert feed(reader, make_stream_response(0, 1), make_stream_response(1, 0), make_stream_response(2, 0)) is None
    tokens = reader.tokens
    assert (tokens.first_token_ns, tokens.first_output_ns, tokens.last_token_ns) == (1, 1, 3)
    assert tokens.chunk_ns == [1, 2, 3]
    assert (tokens.tokens_out, tokens.token_source) == (None, None)
    check = OipGrpc(OipWorkload("m", transport="grpc-stream"), ADDRESS).build_check(np.array([[1]]))
    assert check_response(check, make_stream_exchange(reader)) == ResponseCheck(None, 1)


def test_inference_stream_without_response_is_bad_payload() -> None:
    reader = OipStreamReader()
    assert (reader.tokens.chunk_ns, reader.tokens.first_token_ns) == (None, None)
    check = OipGrpc(OipWorkload("m", transport="grpc-stream"), ADDRESS).build_check(None)
    assert check_response(check, make_stream_exchange(reader)) == ResponseCheck("bad-payload")


@pytest.mark.parametrize("version", ["", "1", "v1.2"])
def test_unwrapped_stream_responses_are_accepted(version: str) -> None:
    plain = floats(0, 1)
    plain.model_version = version
    reader = OipStreamReader()
    assert feed(reader, plain, plain) is None
    assert len(reader.get_first_outputs()) == 1


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (ModelStreamInferResponse(error_message="out of memory"), "http-5xx"),
        (ModelStreamInferResponse(error_message="no", infer_response=ModelInferResponse(model_name="m")), "http-5xx"),
        (ModelStreamInferResponse(), "bad-payload"),
        (make_stream_response(0, float("nan")), "bad-output"),
        (ModelStreamInferResponse(infer_response=raw("FP32", (1,), b"1")), "bad-payload"),
    ],
)
def test_erroneous_streamed_response_ends_stream(message: ModelStreamInferResponse, error: str) -> None:
    assert feed(OipStreamReader(), make_stream_response(0, 1), message) == error


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x05ab"])
def test_garbage_in_inference_stream_is_bad_payload(garbage: bytes) -> None:
    assert OipStreamReader().feed(garbage, 1) == "bad-payload"


def test_first_outputs_of_empty_stream_are_an_error() -> None:
    with pytest.raises(ResponseError):
        OipStreamReader().get_first_outputs()
