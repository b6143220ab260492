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


def answered(message: ModelInferResponse, status: int = 200, number: int = 0) -> Exchange:
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


def test_names_go_as_they_are_and_what_is_called_is_shown() -> None:
    dialect = OipGrpc(OipWorkload("a/b c", version="2", transport="grpc"), ADDRESS)
    request = ModelInferRequest.FromString(dialect.encode_request([(X, ARRAYS["FP32"])], True))
    assert (request.model_name, request.model_version) == ("a/b c", "2")
    assert dialect.label == "grpc://h:8001/inference.GRPCInferenceService/ModelInfer"
    assert get_infer_method(OipWorkload("m", transport="grpc-stream")).endswith("/ModelStreamInfer")


def test_the_metadata_is_asked_for_by_its_own_method() -> None:
    async def ask(request: bytes, method: str = "", /) -> Exchange:
        assert method == METADATA_METHOD
        assert ModelMetadataRequest.FromString(request) == ModelMetadataRequest(name="m", version="3")
        done = Exchange(0, 0, 0, request, lambda _: None)
        done.status, done.body = 200, inputs(("x", "FP32", (-1, 2)), ("t", "INT64", ())).SerializeToString()
        return done

    dialect = OipGrpc(OipWorkload("m", version="3", transport="grpc"), ADDRESS)
    assert asyncio.run(dialect.fetch_inputs(ask)) == (X, TensorInput("t", "INT64", ()))


@pytest.mark.parametrize("datatype", ARRAYS)
def test_a_tensor_goes_raw_or_as_numbers_and_comes_back_either_way(datatype: str) -> None:
    array, spec = ARRAYS[datatype], TensorInput("x", datatype, (-1, 2))
    dialect = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    sent = ModelInferRequest.FromString(dialect.encode_request([(spec, array)], True))
    assert (list(sent.inputs[0].shape), sent.inputs[0].datatype) == ([1, 2], datatype)
    assert not sent.inputs[0].HasField("contents")
    (back,) = read_response(raw(datatype, (1, 2), *sent.raw_input_contents))
    assert back.tolist() == array.tolist()

    sent = ModelInferRequest.FromString(dialect.encode_request([(spec, array)], False))
    assert not sent.raw_input_contents
    output = ModelInferResponse.InferOutputTensor(datatype=datatype, shape=[1, 2], contents=sent.inputs[0].contents)
    (back,) = read_response(ModelInferResponse(outputs=[output]))
    assert (back.dtype, back.tolist()) == (array.dtype, array.tolist())


def test_texts_go_raw_or_as_bytes() -> None:
    spec, texts = TensorInput("x", "BYTES", (-1,)), np.array(["a", "éé"])
    dialect = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    (blob,) = ModelInferRequest.FromString(dialect.encode_request([(spec, texts)], True)).raw_input_contents
    assert blob == b"\x01\0\0\0a\x04\0\0\0" + "éé".encode()
    contents = ModelInferRequest.FromString(dialect.encode_request([(spec, texts)], False)).inputs[0].contents
    assert list(contents.bytes_contents) == [b"a", "éé".encode()]
    assert read_response(raw("BYTES", (2,), blob)) is not None
    assert read_response(typed("BYTES", (2,), bytes_contents=contents.bytes_contents)) is not None


def test_half_floats_go_raw_alone() -> None:
    half = [(TensorInput("x", "FP16", (-1,)), np.array([1.5], np.float16))]
    dialect = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS)
    assert ModelInferRequest.FromString(dialect.encode_request(half, True)).raw_input_contents[0] == b"\x00\x3e"
    with pytest.raises(TensorError, match="raw bytes only"):
        dialect.encode_request(half, False)


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
def test_sizes_and_types_that_do_not_add_up_are_a_bad_payload(response: ModelInferResponse) -> None:
    judge = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS).build_check(None)
    assert judge(answered(response)) == ResponseCheck("bad-payload")


def test_an_answer_is_evaluated_by_status_then_nan_then_labels() -> None:
    judge = OipGrpc(OipWorkload("m", transport="grpc"), ADDRESS).build_check(np.array([[1], [0]]))
    assert judge(answered(floats(0, 1))) == ResponseCheck(None, 1)
    assert judge(answered(floats(0, 1), number=1)) == ResponseCheck(None, 0)
    assert judge(answered(floats(0, float("nan")))) == ResponseCheck("bad-output")
    assert judge(answered(floats(0, 1), status=404)) == ResponseCheck("http-4xx")
    assert judge(answered(floats(0, 1), status=501)) == ResponseCheck("http-5xx")
    garbage = answered(floats(0, 1))
    garbage.body = b"\xff\xff"
    assert judge(garbage) == ResponseCheck("bad-payload")


def fed(reader: OipStreamReader, *messages: ModelStreamInferResponse | ModelInferResponse) -> str | None:
    for at_ns, message in enumerate(messages, 1):
        if (error := reader.feed(message.SerializeToString(), at_ns)) is not None:
            return error
    return None


def wrapped(*values: float) -> ModelStreamInferResponse:
    return ModelStreamInferResponse(infer_response=floats(*values))


def streamed(reader: OipStreamReader) -> Exchange:
    exchange = Exchange(0, 0, 0, b"", lambda _: None, False, reader)
    exchange.status = 200
    return exchange


def test_streamed_answers_are_timed_one_by_one_and_the_first_is_held_against_the_labels() -> None:
    reader = OipStreamReader()
    assert fed(reader, wrapped(0, 1), wrapped(1, 0), wrapped(2, 0)) is None
    tokens = reader.tokens
    assert (tokens.first_token_ns, tokens.first_output_ns, tokens.last_token_ns) == (1, 1, 3)
    assert tokens.chunk_ns == [1, 2, 3]
    assert (tokens.tokens_out, tokens.token_source) == (None, None)
    judge = OipGrpc(OipWorkload("m", transport="grpc-stream"), ADDRESS).build_check(np.array([[1]]))
    assert check_response(judge, streamed(reader)) == ResponseCheck(None, 1)


def test_a_stream_without_an_answer_is_a_bad_payload() -> None:
    reader = OipStreamReader()
    assert (reader.tokens.chunk_ns, reader.tokens.first_token_ns) == (None, None)
    judge = OipGrpc(OipWorkload("m", transport="grpc-stream"), ADDRESS).build_check(None)
    assert check_response(judge, streamed(reader)) == ResponseCheck("bad-payload")


@pytest.mark.parametrize("version", ["", "1", "v1.2"])
def test_answers_may_come_unwrapped(version: str) -> None:
    plain = floats(0, 1)
    plain.model_version = version
    reader = OipStreamReader()
    assert fed(reader, plain, plain) is None
    assert len(reader.get_first_outputs()) == 1


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (ModelStreamInferResponse(error_message="out of memory"), "http-5xx"),
        (ModelStreamInferResponse(error_message="no", infer_response=ModelInferResponse(model_name="m")), "http-5xx"),
        (ModelStreamInferResponse(), "bad-payload"),
        (wrapped(0, float("nan")), "bad-output"),
        (ModelStreamInferResponse(infer_response=raw("FP32", (1,), b"1")), "bad-payload"),
    ],
)
def test_a_streamed_answer_that_is_wrong_ends_the_stream(message: ModelStreamInferResponse, error: str) -> None:
    assert fed(OipStreamReader(), wrapped(0, 1), message) == error


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x05ab"])
def test_garbage_in_a_stream_is_a_bad_payload(garbage: bytes) -> None:
    assert OipStreamReader().feed(garbage, 1) == "bad-payload"


def test_no_answer_to_read_is_an_error() -> None:
    with pytest.raises(ResponseError):
        OipStreamReader().get_first_outputs()
