import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from loadgen.protocols import grpc_descriptors
from loadgen.protocols.grpc_descriptors import (
    REFLECTION_METHODS,
    REFLECTION_REQUEST,
    REFLECTION_RESPONSE,
    GrpcMethod,
    fetch_method,
    load_method,
    read_descriptor_set,
)
from loadgen.protocols.prepared import TargetError, WorkloadError
from loadgen.transport.address import parse_grpc_url
from loadgen.transport.exchange import Exchange
from tests.fakes.grpc_speech import SERVICE, reflect, speech_files, speech_set

READ = f"{SERVICE}/Read"
Change = Callable[[list[FileDescriptorProto]], object]


def fetch(
    method: str = READ,
    files: list[FileDescriptorProto] | None = None,
    respond: Callable[[Any], bytes] | None = None,
    reflection_method: str = REFLECTION_METHODS[0],
    requests: list[str] | None = None,
) -> GrpcMethod:
    """Fetch a method from a server whose reflection has `files`, or responds as `respond` does."""

    async def send(request: bytes, method: str = "", /) -> Exchange:
        exchange = Exchange(0, 0, 0, request, lambda _: None, method=method)
        exchange.status = 200 if method == reflection_method else 501
        parsed = REFLECTION_REQUEST.FromString(request)
        if requests is not None:
            requests.append(str(parsed).strip())
        served_files = speech_files() if files is None else files
        exchange.body = reflect(served_files, parsed).SerializeToString() if respond is None else respond(parsed)
        return exchange

    return asyncio.run(fetch_method(method, parse_grpc_url("grpc://h:1"), send))


@pytest.mark.parametrize(
    ("name", "streams"),
    [("Say", (False, False)), ("Read", (False, True)), ("Join", (True, False)), ("Talk", (True, True))],
)
@pytest.mark.parametrize("reflection_method", REFLECTION_METHODS)
def test_grpc_method_is_described_by_each_version_of_reflection(
    name: str, streams: tuple[bool, bool], reflection_method: str
) -> None:
    method = fetch(f"{SERVICE}/{name}", reflection_method=reflection_method)
    assert (method.has_request_stream, method.has_response_stream) == streams
    assert method.path == f"/{SERVICE}/{name}"
    assert method.request_class.DESCRIPTOR.full_name == "demo.speech.Text"
    assert method.response_class.DESCRIPTOR.full_name == "demo.speech.Audio"


def test_imported_files_are_requested_except_well_known_types() -> None:
    requests: list[str] = []
    fetch(requests=requests)
    assert requests == [f'file_containing_symbol: "{SERVICE}"', 'file_by_filename: "demo/common.proto"']


@pytest.mark.parametrize(
    ("method", "message", "hint"),
    [
        ("demo.speech.Spech/Read", "the server has no service demo.speech.Spech", f"Did you mean {SERVICE}?"),
        ("x/Read", "the server has no service x", f"Available: {SERVICE}."),
        (f"{SERVICE}/Reed", "has no method Reed", "Did you mean Read?"),
        (f"{SERVICE}/X", "has no method X", "Available: Join, Read, Say, Talk."),
    ],
)
def test_unknown_grpc_name_is_reported_with_nearest_names(method: str, message: str, hint: str) -> None:
    with pytest.raises(WorkloadError, match=message) as error:
        fetch(method)
    assert error.value.hint == hint


def test_server_without_reflection_needs_descriptor_set() -> None:
    with pytest.raises(WorkloadError, match="no gRPC reflection") as error:
        fetch(reflection_method="")
    assert "protoc --include_imports" in str(error.value.hint)


def test_invalid_service_names_are_not_suggested() -> None:
    def respond(request: Any) -> bytes:
        services = {"service": [{"name": "a.\x1b[31mB"}, {"name": "a.B"}, {"name": "a." + "B" * 300}]}
        fields = (
            {"list_services_response": services} if request.list_services else {"error_response": {"error_code": 5}}
        )
        return bytes(REFLECTION_RESPONSE(**fields).SerializeToString())

    with pytest.raises(WorkloadError) as error:
        fetch("a.C/D", respond=respond)
    assert error.value.hint == "Did you mean a.B?"


def encode_file_response(file: bytes) -> bytes:
    return bytes(REFLECTION_RESPONSE(file_descriptor_response={"file_descriptor_proto": [file]}).SerializeToString())


def respond_with_endless_imports(request: Any) -> bytes:
    name = request.file_by_filename or "0"
    return encode_file_response(FileDescriptorProto(name=name, dependency=[f"{name}0"]).SerializeToString())


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (lambda _: b"\xff\xff", "cannot be decoded"),
        (lambda _: encode_file_response(b"\xff"), "a file cannot be decoded"),
        (lambda _: b"\x22\x00" * 4_200_000, "larger than 8 MiB"),
        (
            lambda _: encode_file_response(FileDescriptorProto(name="a", dependency=["b"]).SerializeToString()),
            "does not have",
        ),
        (respond_with_endless_imports, "more than 20 files"),
    ],
)
def test_invalid_reflection_response_is_rejected(
    respond: Callable[[Any], bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_FILES", 20)
    with pytest.raises(TargetError, match=message) as error:
        fetch(respond=respond)
    assert error.value.error == "bad-payload"


def _imports_itself(files: list[FileDescriptorProto]) -> None:
    files[1].dependency.append(files[0].name)


def _lacks_a_type(files: list[FileDescriptorProto]) -> None:
    del files[1].message_type[:]


def _uses_well_known_package(files: list[FileDescriptorProto]) -> None:
    files[1].package = "google.protobuf"


def _has_too_many(files: list[FileDescriptorProto]) -> None:
    files.extend(FileDescriptorProto(name=f"{number}.proto") for number in range(30))
    files[0].dependency.extend(file.name for file in files[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_imports_itself, "imports itself"),
        (_lacks_a_type, "inconsistent"),
        (_uses_well_known_package, "defines types in the package google.protobuf"),
        (_has_too_many, "more than 20 files"),
    ],
)
def test_inconsistent_protobuf_descriptors_are_rejected(
    change: Change, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_FILES", 20)
    files = speech_files()
    change(files)
    with pytest.raises(TargetError, match=message):
        fetch(files=files)


def test_well_known_types_of_server_are_ignored() -> None:
    files = speech_files()
    files.append(FileDescriptorProto(name="google/protobuf/duration.proto", package="google.protobuf"))
    duration = fetch(files=files).request_class.DESCRIPTOR.fields_by_name["wait"].message_type
    assert duration is not None
    assert list(duration.fields_by_name) == ["seconds", "nanos"]


def test_method_is_loaded_from_descriptor_set(tmp_path: Path) -> None:
    (tmp_path / "speech.binpb").write_bytes(speech_set())
    path = str(tmp_path / "speech.binpb")
    assert load_method(READ, read_descriptor_set(path), path).has_response_stream


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'syntax = "proto3";', "set.binpb is not a descriptor set"),
        (speech_set(imports=False), "lacks the imported file 'demo/common.proto'"),
        (
            FileDescriptorSet(file=[FileDescriptorProto(name="a", dependency=["a"])]).SerializeToString(),
            "imports itself",
        ),
        (b"", f"no service {SERVICE}"),
    ],
)
def test_invalid_descriptor_set_is_workload_error(content: bytes, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        load_method(READ, content, "set.binpb")


def test_missing_or_too_large_descriptor_set_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        read_descriptor_set(str(tmp_path / "none"))
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(WorkloadError, match="larger than 1 MiB"):
        read_descriptor_set(str(tmp_path / "large"))
