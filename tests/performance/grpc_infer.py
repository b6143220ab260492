"""How lean gRPC inference is: `python -m tests.performance.grpc_infer [--full]`.

A closed loop of 16 with a server that responds at once; the worker has one core and the server another one, if there
are two. The capacity of a core is computed from the CPU time per call, since the server may be slower than the worker.
`--full` takes longer stages.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Literal

import grpc

from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, OpenArrivals
from loadgen.workloads import OipWorkload
from tests.performance.load_worker import run_stage
from tests.performance.targets import CLIENT_CORE, SERVER_CORE, on_core

REPEATS = 3
CLIENTS = 16
RATE_PER_S = 1_000
Transport = Literal["grpc", "grpc-stream"]
TRANSPORTS: tuple[Transport, ...] = ("grpc", "grpc-stream")


def serve() -> None:
    """Print the port, and serve until standard input ends."""
    from loadgen.protocols.open_inference_pb2 import ModelStreamInferResponse
    from tests.fakes.open_inference import floats, inputs

    plain = floats(0, 1)
    responses = {
        "ModelMetadata": inputs(("x", "FP32", (-1, 64))).SerializeToString(),
        "ModelInfer": plain.SerializeToString(),
        "ModelStreamInfer": ModelStreamInferResponse(infer_response=plain).SerializeToString(),
    }

    class Handlers(grpc.GenericRpcHandler[bytes, bytes]):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            method = details.method.rpartition("/")[2]
            response = responses[method]
            if method == "ModelStreamInfer":
                return grpc.stream_stream_rpc_method_handler(lambda requests, _: (response for _ in requests))
            return grpc.unary_unary_rpc_method_handler(lambda _, __: response)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handlers()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.performance.grpc_infer", "--serve"]
    with on_core(SERVER_CORE):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        yield f"grpc://127.0.0.1:{int(child.stdout.readline())}"
        child.stdin.close()


def bench(transport: Transport, url: str, seconds: float) -> None:
    with on_core(CLIENT_CORE):
        load = LoadProcess()
    with load:
        load.configure(Endpoint((url,)), OipWorkload("m", transport=transport))
        run_stage(load, ClosedArrivals(CLIENTS), 1)  # connections made, caches warm
        costs_us, rates_per_s = [], []
        for seed in range(REPEATS):
            ended, rows = run_stage(load, ClosedArrivals(CLIENTS), seconds, seed)
            assert rows["error"].isna().all(), rows["error"].value_counts().to_dict()
            costs_us.append(1e6 * ended.cpu_s / len(rows))
            rates_per_s.append(len(rows) / seconds)
        cost_us = median(costs_us)
        print(
            f"{transport:12} closed loop of {CLIENTS}: {median(rates_per_s):7,.0f} infer/s, {cost_us:5.1f} µs CPU each:"
            f" {1e6 / cost_us:7,.0f} infer/s a core"
        )
        _, rows = run_stage(load, OpenArrivals("poisson", ((0.0, RATE_PER_S),)), seconds)
        lag_us = (rows["sent_ns"] - rows["scheduled_ns"]) / 1e3
        p50, p99 = lag_us.quantile(0.5), lag_us.quantile(0.99)
        print(f"{transport:12} {RATE_PER_S:,}/s: lag p50 {p50:.0f} µs, p99 {p99:.0f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="stages of 20 s instead of 3")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    with serving() as url:
        for transport in TRANSPORTS:
            bench(transport, url, 20.0 if arguments.full else 3.0)
    print("budget: grpc ≥ 3,000 infer/s a core")


if __name__ == "__main__":
    main()
