"""A gRPC server of a service that the product learns by reflection. It runs in threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from loadgen.protocols.grpc_descriptors import REFLECTION_METHODS, REFLECTION_REQUEST, REFLECTION_RESPONSE

SERVICE = "demo.speech.Speech"
_STRING, _DOUBLE, _BYTES, _MESSAGE = 9, 1, 12, 11


def speech_files() -> list[FileDescriptorProto]:
    """Two files, of which the second imports the first and a well-known type."""
    common = FileDescriptorProto(name="demo/common.proto", package="demo", syntax="proto3")
    common.message_type.add(name="Voice").field.add(name="speed", number=1, type=_DOUBLE, label=1)
    file = FileDescriptorProto(
        name="demo/speech.proto",
        package="demo.speech",
        syntax="proto3",
        dependency=["demo/common.proto", "google/protobuf/duration.proto"],
    )
    text = file.message_type.add(name="Text")
    text.field.add(name="text", number=1, type=_STRING, label=1)
    text.field.add(name="voice", number=2, type=_MESSAGE, type_name=".demo.Voice", label=1)
    text.field.add(name="wait", number=3, type=_MESSAGE, type_name=".google.protobuf.Duration", label=1)
    file.message_type.add(name="Audio").field.add(name="samples", number=1, type=_BYTES, label=1)
    service = file.service.add(name="Speech")
    for name, is_client_stream, is_server_stream in (
        ("Say", False, False), ("Read", False, True), ("Join", True, False), ("Talk", True, True)
    ):  # fmt: skip
        service.method.add(
            name=name,
            input_type=".demo.speech.Text",
            output_type=".demo.speech.Audio",
            client_streaming=is_client_stream,
            server_streaming=is_server_stream,
        )
    return [file, common]


def _message_classes() -> tuple[Any, Any]:
    pool = descriptor_pool.DescriptorPool()
    from google.protobuf import duration_pb2

    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    for file in reversed(speech_files()):
        pool.AddSerializedFile(file.SerializeToString())
    descriptors = (pool.FindMessageTypeByName(f"demo.speech.{name}") for name in ("Text", "Audio"))
    text, audio = map(message_factory.GetMessageClass, descriptors)
    return text, audio


Text, Audio = _message_classes()


def speech_set(*, imports: bool = True) -> bytes:
    files = speech_files()
    return FileDescriptorSet(file=files if imports else files[:1]).SerializeToString()


@dataclass
class Speech:
    """Each word of a text becomes a piece of audio. `refused` is the status of a call whose text contains `stop`.

    Reflection returns one file at a time, as some servers do, and only by the service `reflection`."""

    reflection: str | None = REFLECTION_METHODS[0]
    files: list[FileDescriptorProto] = field(default_factory=speech_files)
    refused: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    requests: list[Any] = field(default_factory=list)

    def __enter__(self) -> Speech:
        self._threads = ThreadPoolExecutor(16)
        self._server = grpc.server(self._threads, handlers=[self._handlers(), *self._reflection_handlers()])
        self.url = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        read, write = Text.FromString, Audio.SerializeToString
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Say": grpc.unary_unary_rpc_method_handler(self._synthesize, read, write),
                "Read": grpc.unary_stream_rpc_method_handler(self._read, read, write),
                "Join": grpc.stream_unary_rpc_method_handler(self._join, read, write),
                "Talk": grpc.stream_stream_rpc_method_handler(self._talk, read, write),
            },
        )

    def _reflection_handlers(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        if self.reflection is None:
            return []
        handler = grpc.stream_stream_rpc_method_handler(
            self._reflect, REFLECTION_REQUEST.FromString, REFLECTION_RESPONSE.SerializeToString
        )
        service, _, name = self.reflection[1:].partition("/")
        return [grpc.method_handlers_generic_handler(service, {name: handler})]

    def _speak(self, text: Any, context: Any) -> Iterator[Any]:
        self.requests.append(text)
        for word in text.text.split():
            if word == "stop":
                context.abort(self.refused, "canary")
            yield Audio(samples=word.encode())

    def _synthesize(self, text: Any, context: Any) -> Any:
        return Audio(samples=b"".join(audio.samples for audio in self._speak(text, context)))

    def _read(self, text: Any, context: Any) -> Iterator[Any]:
        return self._speak(text, context)

    def _join(self, texts: Iterator[Any], context: Any) -> Any:
        return Audio(samples=b"".join(self._synthesize(text, context).samples for text in texts))

    def _talk(self, texts: Iterator[Any], context: Any) -> Iterator[Any]:
        for text in texts:
            yield from self._speak(text, context)

    def _reflect(self, requests: Iterator[Any], _: object) -> Iterator[Any]:
        for request in requests:
            yield reflect(self.files, request)


def reflect(files: list[FileDescriptorProto], request: Any) -> Any:
    """The response of a reflection service that has `files`."""
    symbols = {f"{file.package}.{service.name}": file for file in files for service in file.service}
    names = {file.name: file for file in files}
    if request.list_services:
        return REFLECTION_RESPONSE(list_services_response={"service": [{"name": name} for name in symbols]})
    file = symbols.get(request.file_containing_symbol) or names.get(request.file_by_filename)
    if file is None:
        return REFLECTION_RESPONSE(error_response={"error_code": 5})
    return REFLECTION_RESPONSE(file_descriptor_response={"file_descriptor_proto": [file.SerializeToString()]})
