"""Find the message types of a gRPC method, by server reflection or in a descriptor set.

Descriptors are untrusted: their number and size are limited, and the well-known types of Protocol
Buffers are always our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from http import HTTPStatus
from importlib import import_module
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError, Message

from loadgen.protocols.prepared import SendGrpcRequest, TargetError, WorkloadError, request_or_raise
from loadgen.regular_files import open_regular
from loadgen.transport.address import Address, format_grpc_method

MAX_DESCRIPTOR_BYTES = 8 * 2**20
"""Maximum size in bytes of all descriptors of a method together."""
MAX_DESCRIPTOR_FILES = 1000

_MAX_NAMES = 5
_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,254}", re.ASCII)
_RESERVED_PACKAGE = "google.protobuf"
_WELL_KNOWN_FILES = {
    f"google/protobuf/{stem}.proto": f"{_RESERVED_PACKAGE}.{stem}_pb2"
    for stem in ("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct",
                 "timestamp", "type", "wrappers")
}  # fmt: skip
"""Modules of the files with the well-known types, by the name of the file."""
_PROTOC_HINT = (
    "Set workload.protoset to the file that protoc --include_imports --descriptor_set_out=FILE writes for the "
    "service's .proto files."
)
REFLECTION_METHODS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)


class GrpcMethod(NamedTuple):
    """A gRPC method with its message types. `path` is the path of its calls,
    `/package.Service/Method`. `pool` contains the types that a message of type Any may have."""

    path: str
    request_class: type[Message]
    response_class: type[Message]
    pool: descriptor_pool.DescriptorPool
    has_request_stream: bool
    has_response_stream: bool


def load_method(method: str, content: bytes, name: str) -> GrpcMethod:
    """Return the method `package.Service/Method` of a descriptor set. `name` is the name of its
    file. Raises WorkloadError if the descriptor set is invalid or does not describe the method."""
    try:
        files = FileDescriptorSet.FromString(content).file
    except DecodeError as error:
        raise WorkloadError(f"{name} is not a descriptor set", hint=_PROTOC_HINT) from error
    descriptors = {file.name: file for file in files}
    missing_names = {
        dependency
        for file in files
        for dependency in file.dependency
        if dependency not in descriptors and dependency not in _WELL_KNOWN_FILES
    }
    if missing_names:
        raise WorkloadError(f"{name} lacks the imported file {min(missing_names)[:200]!r}", hint=_PROTOC_HINT)
    pool = _build_pool(descriptors.values())
    service_names = [f"{file.package}.{service.name}".lstrip(".") for file in files for service in file.service]
    return _find_method(method, pool, service_names)


def read_descriptor_set(path: str) -> bytes:
    """Read a descriptor set file. Raises WorkloadError if it cannot be read or is too large."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_DESCRIPTOR_BYTES + 1)
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_DESCRIPTOR_BYTES:
        raise WorkloadError(f"{path} is larger than {MAX_DESCRIPTOR_BYTES >> 20} MiB", hint=_PROTOC_HINT)
    return content


async def fetch_method(method: str, address: Address, send: SendGrpcRequest) -> GrpcMethod:
    """Request the descriptors of the method `package.Service/Method` by server reflection, and
    return the method. Raises TargetError if the server cannot be reached or responds with invalid
    descriptors, and WorkloadError if it has no reflection or no such method."""
    service_name = method.partition("/")[0]
    reflection = await _open_reflection(service_name, address, send)
    if reflection.response.HasField("error_response"):
        service_names = await reflection.list_services()
        raise _build_unknown_name_error("the server has no service", service_name, service_names)
    descriptors: dict[str, FileDescriptorProto] = {}
    reflection.add_files(descriptors)
    while missing_names := {
        dependency
        for file in descriptors.values()
        for dependency in file.dependency
        if dependency not in descriptors and dependency not in _WELL_KNOWN_FILES
    }:
        for name in sorted(missing_names):
            await reflection.send(file_by_filename=name)
            reflection.add_files(descriptors)
            if name not in descriptors:
                raise _build_invalid_error("they import a file that the server does not have")
    try:
        pool = _build_pool(descriptors.values())
    except WorkloadError as error:
        raise _build_invalid_error(str(error)) from error
    return _find_method(method, pool, (service_name,))


class _Reflection:
    """Client of a server's reflection service. `response` is the last response."""

    def __init__(self, method: str, address: Address, send: SendGrpcRequest) -> None:
        self._method, self._address, self._send = method, address, send
        self._total_bytes = 0
        self.response: Any = REFLECTION_RESPONSE()

    async def send(self, **request: str) -> None:
        """Send a request with the given field. Raises TargetError if the request fails."""
        exchange = await request_or_raise(
            REFLECTION_REQUEST(**request).SerializeToString(),
            format_grpc_method(self._address, self._method),
            lambda message: self._send(message, self._method),
        )
        self._total_bytes += len(exchange.body)
        if self._total_bytes > MAX_DESCRIPTOR_BYTES:
            raise _build_invalid_error(f"they are larger than {MAX_DESCRIPTOR_BYTES >> 20} MiB")
        try:
            self.response = REFLECTION_RESPONSE.FromString(exchange.body)
        except DecodeError as error:
            raise _build_invalid_error("the response cannot be decoded") from error

    def add_files(self, descriptors: dict[str, FileDescriptorProto]) -> None:
        """Add the files of the last response to `descriptors`. Raises TargetError if a file cannot
        be decoded or there are too many."""
        for content in self.response.file_descriptor_response.file_descriptor_proto:
            try:
                file = FileDescriptorProto.FromString(content)
            except DecodeError as error:
                raise _build_invalid_error("a file cannot be decoded") from error
            descriptors.setdefault(file.name, file)
        if len(descriptors) > MAX_DESCRIPTOR_FILES:
            raise _build_invalid_error(f"they have more than {MAX_DESCRIPTOR_FILES:,} files")

    async def list_services(self) -> list[str]:
        """Return the names of the server's services; empty if the server does not list them."""
        try:
            await self.send(list_services="*")
        except TargetError:
            return []
        return [service.name for service in self.response.list_services_response.service]


async def _open_reflection(service_name: str, address: Address, send: SendGrpcRequest) -> _Reflection:
    """Request the file that contains the service from the newest reflection service that the server
    has."""
    for method in REFLECTION_METHODS:
        reflection = _Reflection(method, address, send)
        try:
            await reflection.send(file_containing_symbol=service_name)
        except TargetError as error:
            if error.status != HTTPStatus.NOT_IMPLEMENTED:
                raise
        else:
            return reflection
    raise WorkloadError("the server has no gRPC reflection, which describes its methods", hint=_PROTOC_HINT)


def _build_invalid_error(reason: str) -> TargetError:
    return TargetError(f"the descriptors from the server's reflection are invalid: {reason}", "bad-payload")


def _build_pool(files: Iterable[FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """Build a pool of descriptors. Well-known types replace those of the files. Raises
    WorkloadError if the files are inconsistent."""
    file_by_name = {file.name: file for file in files}
    for name, module_name in _WELL_KNOWN_FILES.items():
        file_by_name[name] = FileDescriptorProto.FromString(import_module(module_name).DESCRIPTOR.serialized_pb)
    pool = descriptor_pool.DescriptorPool()
    try:
        graph = {name: tuple(file.dependency) for name, file in file_by_name.items()}
        for name in TopologicalSorter(graph).static_order():
            file = file_by_name[name]
            if name not in _WELL_KNOWN_FILES and f"{file.package}.".startswith(f"{_RESERVED_PACKAGE}."):
                raise WorkloadError(f"a file defines types in the package {_RESERVED_PACKAGE}")
            pool.AddSerializedFile(file.SerializeToString())
    except CycleError as error:
        raise WorkloadError("a file imports itself") from error
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise WorkloadError("a file is inconsistent") from error
    return pool


def _find_method(method: str, pool: descriptor_pool.DescriptorPool, service_names: Iterable[str]) -> GrpcMethod:
    """Return a method of a pool. Raises WorkloadError if the pool does not contain it."""
    service_name, _, method_name = method.partition("/")
    service = _find_descriptor(pool.FindServiceByName, service_name)
    if service is None:
        raise _build_unknown_name_error("the descriptors have no service", service_name, service_names)
    assert isinstance(service, ServiceDescriptor)
    descriptor = service.methods_by_name.get(method_name)
    if descriptor is None:
        names = [name for name in service.methods_by_name if _NAME_PATTERN.fullmatch(name)]
        raise _build_unknown_name_error(f"the service {service_name} has no method", method_name, names)
    assert isinstance(descriptor, MethodDescriptor)
    return GrpcMethod(
        path=f"/{service_name}/{method_name}",
        request_class=message_factory.GetMessageClass(descriptor.input_type),
        response_class=message_factory.GetMessageClass(descriptor.output_type),
        pool=pool,
        has_request_stream=descriptor.client_streaming,
        has_response_stream=descriptor.server_streaming,
    )


def _find_descriptor(find: Callable[[str], ServiceDescriptor], name: str) -> ServiceDescriptor | None:
    try:
        return find(name)
    except KeyError:
        return None


def _build_unknown_name_error(problem: str, name: str, known_names: Iterable[str]) -> WorkloadError:
    """Build the error for an unknown service or method, with the nearest known names. Names that
    are not identifiers are omitted, because they come from the server."""
    names = sorted({known_name for known_name in known_names if _NAME_PATTERN.fullmatch(known_name)})
    nearest_names = get_close_matches(name, names, n=_MAX_NAMES, cutoff=0.5)
    if nearest_names:
        return WorkloadError(f"{problem} {name}", hint=f"Did you mean {' or '.join(nearest_names)}?")
    more_text = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return WorkloadError(
        f"{problem} {name}", hint=f"Available: {', '.join(names[:_MAX_NAMES])}{more_text}." if names else _PROTOC_HINT
    )


def _create_reflection_messages() -> tuple[Any, Any]:
    """Create the classes of a reflection request and response, which v1 and v1alpha share, with the
    fields that are used."""
    string, number, content, message = (
        FieldDescriptorProto.TYPE_STRING,
        FieldDescriptorProto.TYPE_INT32,
        FieldDescriptorProto.TYPE_BYTES,
        FieldDescriptorProto.TYPE_MESSAGE,
    )
    file = FileDescriptorProto(name="reflection.proto", package="reflection", syntax="proto3")
    for name, fields in (
        ("Request", (("file_by_filename", 3, string), ("file_containing_symbol", 4, string),
                     ("list_services", 7, string))),
        ("FileResponse", (("file_descriptor_proto", 1, content),)),
        ("Service", (("name", 1, string),)),
        ("ServiceList", (("service", 1, "Service"),)),
        ("Error", (("error_code", 1, number),)),
        ("Response", (("file_descriptor_response", 4, "FileResponse"), ("list_services_response", 6, "ServiceList"),
                      ("error_response", 7, "Error"))),
    ):  # fmt: skip
        definition = file.message_type.add(name=name)
        for field_name, field_number, type_ in fields:
            is_repeated = field_name in ("file_descriptor_proto", "service")
            definition.field.add(
                name=field_name,
                number=field_number,
                type=message if isinstance(type_, str) else type_,
                type_name=f".reflection.{type_}" if isinstance(type_, str) else None,
                label=FieldDescriptorProto.LABEL_REPEATED if is_repeated else FieldDescriptorProto.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    request, response = (pool.FindMessageTypeByName(f"reflection.{name}") for name in ("Request", "Response"))
    return message_factory.GetMessageClass(request), message_factory.GetMessageClass(response)


REFLECTION_REQUEST, REFLECTION_RESPONSE = _create_reflection_messages()
