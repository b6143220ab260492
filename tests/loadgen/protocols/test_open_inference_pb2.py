import importlib.resources
import subprocess
import sys
from pathlib import Path

import grpc_tools
import pytest

from loadgen.protocols import open_inference_pb2

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
PROTO = "loadgen/protocols/open_inference.proto"

NUMBERS = {
    "ModelMetadataRequest": {"name": 1, "version": 2},
    "ModelMetadataResponse": {"name": 1, "versions": 2, "platform": 3, "inputs": 4, "outputs": 5},
    "ModelMetadataResponse.TensorMetadata": {"name": 1, "datatype": 2, "shape": 3},
    "InferTensorContents": {
        "bool_contents": 1,
        "int_contents": 2,
        "int64_contents": 3,
        "uint_contents": 4,
        "uint64_contents": 5,
        "fp32_contents": 6,
        "fp64_contents": 7,
        "bytes_contents": 8,
    },
    "ModelInferRequest": {"model_name": 1, "model_version": 2, "inputs": 5, "raw_input_contents": 7},
    "ModelInferRequest.InferInputTensor": {"name": 1, "datatype": 2, "shape": 3, "contents": 5},
    "ModelInferResponse": {"model_name": 1, "model_version": 2, "outputs": 5, "raw_output_contents": 6},
    "ModelInferResponse.InferOutputTensor": {"name": 1, "datatype": 2, "shape": 3, "contents": 5},
    "ModelStreamInferResponse": {"error_message": 1, "infer_response": 2},
}
"""Field numbers of the Open Inference standard; the last message is Triton's."""


@pytest.mark.parametrize("kind", ["_pb2.py", "_pb2.pyi"])
def test_generated_modules_match_proto_file(kind: str, tmp_path: Path) -> None:
    includes = importlib.resources.files(grpc_tools) / "_proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"-I{includes}"]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", PROTO]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    generated = PROTO.replace(".proto", kind)
    assert (tmp_path / generated).read_text() == (ROOT / generated).read_text(), "run: make proto"


@pytest.mark.parametrize("message", NUMBERS)
def test_field_numbers_match_standard(message: str) -> None:
    file_descriptor = open_inference_pb2.DESCRIPTOR
    outer, _, inner = message.partition(".")
    descriptor = file_descriptor.message_types_by_name[outer]
    if inner:
        descriptor = descriptor.nested_types_by_name[inner]
    assert {field.name: field.number for field in descriptor.fields} == NUMBERS[message]


def test_method_names_match_standard() -> None:
    service = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.full_name == "inference.GRPCInferenceService"
    assert [method.name for method in service.methods] == ["ModelMetadata", "ModelInfer", "ModelStreamInfer"]
