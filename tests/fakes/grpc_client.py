"""A client that calls a gRPC server through the product's transport and waits for the finished exchanges."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from loadgen.protocols.open_inference_pb2 import ModelInferRequest
from loadgen.records import Endpoint
from loadgen.transport.exchange import Exchange, StreamReader, Transport
from loadgen.transport.grpc import GrpcPool, create_grpc_transport
from tests.fakes.http_client import LOOPS

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
METADATA = "/inference.GRPCInferenceService/ModelMetadata"
REQUEST = ModelInferRequest(model_name="m").SerializeToString()


class GrpcClient:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def pool(self) -> GrpcPool:
        """The transport to an endpoint of one URL."""
        assert isinstance(self.transport, GrpcPool)
        return self.transport

    def submit(self, reader: StreamReader | None = None, method: str = "") -> asyncio.Future[Exchange]:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self.transport.submit(Exchange(0, 0, 0, REQUEST, done.set_result, False, reader, method=method))
        return done

    async def call(self, reader: StreamReader | None = None, method: str = "") -> Exchange:
        return await asyncio.wait_for(self.submit(reader, method), 20)


GrpcClientScript = Callable[[GrpcClient], Awaitable[None]]
RunGrpcClient = Callable[[Endpoint, GrpcClientScript], None]


def run_grpc_client_on(loop_name: str, endpoint: Endpoint, talk: GrpcClientScript, method: str = INFER) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport = create_grpc_transport(loop, endpoint, method, "server-stream" if method == STREAM else "unary")
        try:
            await transport.resolve()
            await talk(GrpcClient(transport))
        finally:
            transport.close()
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(run())


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
