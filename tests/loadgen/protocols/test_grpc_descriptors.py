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
    answer: Callable[[Any], bytes] | None = None,
    spoken: str = REFLECTION_METHODS[0],
    asked: list[str] | None = None,
) -> GrpcMethod:
    """What is found at a server whose reflection knows `files`, or gives `answer`."""

    async def send(request: bytes, method: str = "", /) -> Exchange:
        exchange = Exchange(0, 0, 0, request, lambda _: None, method=method)
        exchange.status = 200 if method == spoken else 501
        parsed = REFLECTION_REQUEST.FromString(request)
        if asked is not None:
            asked.append(str(parsed).strip())
        known = speech_files() if files is None else files
        exchange.body = reflect(known, parsed).SerializeToString() if answer is None else answer(parsed)
        return exchange

    return asyncio.run(fetch_method(method, parse_grpc_url("grpc://h:1"), send))


@pytest.mark.parametrize(
    ("name", "streams"),
    [("Say", (False, False)), ("Read", (False, True)), ("Join", (True, False)), ("Talk", (True, True))],
)
@pytest.mark.parametrize("spoken", REFLECTION_METHODS)
def test_a_method_is_described_by_either_version_of_reflection(
    name: str, streams: tuple[bool, bool], spoken: str
) -> None:
    method = fetch(f"{SERVICE}/{name}", spoken=spoken)
    assert (method.has_request_stream, method.has_response_stream) == streams
    assert method.path == f"/{SERVICE}/{name}"
    assert method.request_class.DESCRIPTOR.full_name == "demo.speech.Text"
    assert method.response_class.DESCRIPTOR.full_name == "demo.speech.Audio"


def test_imported_files_are_asked_for_but_not_those_of_well_known_types() -> None:
    asked: list[str] = []
    fetch(asked=asked)
    assert asked == [f'file_containing_symbol: "{SERVICE}"', 'file_by_filename: "demo/common.proto"']


@pytest.mark.parametrize(
    ("method", "says", "hint"),
    [
        ("demo.speech.Spech/Read", "the server has no service demo.speech.Spech", f"Did you mean {SERVICE}?"),
        ("x/Read", "the server has no service x", f"Available: {SERVICE}."),
        (f"{SERVICE}/Reed", "has no method Reed", "Did you mean Read?"),
        (f"{SERVICE}/X", "has no method X", "Available: Join, Read, Say, Talk."),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_ones(method: str, says: str, hint: str) -> None:
    with pytest.raises(WorkloadError, match=says) as caught:
        fetch(method)
    assert caught.value.hint == hint


def test_a_server_without_reflection_needs_a_descriptor_set() -> None:
    with pytest.raises(WorkloadError, match="no gRPC reflection") as caught:
        fetch(spoken="")
    assert "protoc --include_imports" in str(caught.value.hint)


def test_names_that_are_no_names_are_not_shown() -> None:
    def answer(request: Any) -> bytes:
        listed = {"service": [{"name": "a.\x1b[31mB"}, {"name": "a.B"}, {"name": "a." + "B" * 300}]}
        given = {"list_services_response": listed} if request.list_services else {"error_response": {"error_code": 5}}
        return bytes(REFLECTION_RESPONSE(**given).SerializeToString())

    with pytest.raises(WorkloadError) as caught:
        fetch("a.C/D", answer=answer)
    assert caught.value.hint == "Did you mean a.B?"


def described(file: bytes) -> bytes:
    return bytes(REFLECTION_RESPONSE(file_descriptor_response={"file_descriptor_proto": [file]}).SerializeToString())


def endless(request: Any) -> bytes:
    name = request.file_by_filename or "0"
    return described(FileDescriptorProto(name=name, dependency=[f"{name}0"]).SerializeToString())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: b"\xff\xff", "cannot be decoded"),
        (lambda _: described(b"\xff"), "a file cannot be decoded"),
        (lambda _: b"\x22\x00" * 4_200_000, "larger than 8 MiB"),
        (lambda _: described(FileDescriptorProto(name="a", dependency=["b"]).SerializeToString()), "does not have"),
        (endless, "more than 20 files"),
    ],
)
def test_a_hostile_reflection_is_refused(
    answer: Callable[[Any], bytes], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_FILES", 20)
    with pytest.raises(TargetError, match=says) as caught:
        fetch(answer=answer)
    assert caught.value.error == "bad-payload"


def _imports_itself(files: list[FileDescriptorProto]) -> None:
    files[1].dependency.append(files[0].name)


def _lacks_a_type(files: list[FileDescriptorProto]) -> None:
    del files[1].message_type[:]


def _takes_a_well_known_name(files: list[FileDescriptorProto]) -> None:
    files[1].package = "google.protobuf"


def _has_too_many(files: list[FileDescriptorProto]) -> None:
    files.extend(FileDescriptorProto(name=f"{number}.proto") for number in range(30))
    files[0].dependency.extend(file.name for file in files[2:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_imports_itself, "imports itself"),
        (_lacks_a_type, "inconsistent"),
        (_takes_a_well_known_name, "defines types in the package google.protobuf"),
        (_has_too_many, "more than 20 files"),
    ],
)
def test_descriptors_that_do_not_fit_are_refused(change: Change, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_FILES", 20)
    files = speech_files()
    change(files)
    with pytest.raises(TargetError, match=says):
        fetch(files=files)


def test_the_servers_own_well_known_types_are_not_used() -> None:
    files = speech_files()
    files.append(FileDescriptorProto(name="google/protobuf/duration.proto", package="google.protobuf"))
    duration = fetch(files=files).request_class.DESCRIPTOR.fields_by_name["wait"].message_type
    assert duration is not None
    assert list(duration.fields_by_name) == ["seconds", "nanos"]


def test_a_descriptor_set_needs_no_reflection(tmp_path: Path) -> None:
    (tmp_path / "speech.binpb").write_bytes(speech_set())
    path = str(tmp_path / "speech.binpb")
    assert load_method(READ, read_descriptor_set(path), path).has_response_stream


@pytest.mark.parametrize(
    ("content", "says"),
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
def test_a_bad_descriptor_set_is_the_workloads_fault(content: bytes, says: str) -> None:
    with pytest.raises(WorkloadError, match=says):
        load_method(READ, content, "set.binpb")


def test_a_file_that_cannot_be_read_or_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        read_descriptor_set(str(tmp_path / "none"))
    monkeypatch.setattr(grpc_descriptors, "MAX_DESCRIPTOR_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(WorkloadError, match="larger than 1 MiB"):
        read_descriptor_set(str(tmp_path / "large"))
