"""The servers of the back-test: on the loopback, each replica a process of its own."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app.records.offers import Router
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings
from loadgen.reference.script import HttpMock, Script, ServiceModel
from tests.fakes.onnx_models import convolutions

SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95)
CONTENDING_SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
FIXED_S, PER_ROW_S, MAX_ROWS, DELAY_S = 0.015, 0.0015, 8, 0.005
SLOTS, QUICK_S, SLOW_S, SLOW_SHARE = 4, 0.010, 0.080, 0.1
INPUT = {"name": "x", "shape": [1, 1, 16, 16], "datatype": "FP32", "data": [0.5] * 256}

Start = Callable[[contextlib.ExitStack, Path, int], int]
"""Starts the replica of that number, until the stack is left; with a folder for its files. Gives its port."""


class Server(NamedTuple):
    """`most_per_s` None is found by measuring. `shares` of it are the rates, and `fleets` the numbers of replicas."""

    name: str
    start: Start
    most_per_s: float | None
    routers: tuple[Router, ...]
    fleets: tuple[int, ...] = (2, 3)
    shares: tuple[float, ...] = SHARES
    path: str = "/"
    body: dict[str, Any] = {}  # noqa: RUF012 - never changed


@contextlib.contextmanager
def child(module: str, *args: str) -> Iterator[int]:
    """The port that it prints; it leaves when its standard input closes."""
    process = subprocess.Popen([sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def _scripted(service: ServiceModel) -> Start:
    def start(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
        script = Script(protocols=(HttpMock(msgspec.structs.replace(service, seed=number)),))
        return stack.enter_context(
            child("loadgen.reference.scripted", "--script", msgspec.json.encode(script).decode())
        )

    return start


def _batches(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
    service = [str(one) for one in (FIXED_S, PER_ROW_S, MAX_ROWS, DELAY_S)]
    return stack.enter_context(child("tests.fakes.timed_server", "batches", *service))


def _two_speeds(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
    service = [str(one) for one in (SLOTS, QUICK_S, SLOW_S, SLOW_SHARE, number)]
    return stack.enter_context(child("tests.fakes.timed_server", "two-speeds", *service))


def _model(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
    path = convolutions(folder / "convolutions.onnx", 8)
    endpoint = stack.enter_context(EndpointProcess(ServingSettings(model=str(path), name="convolutions")))
    return int(endpoint.ready.url.rpartition(":")[2])


FOUR, ONE = ServiceModel(delay_s=0.020, sigma=0.5, servers=4), ServiceModel(delay_s=0.006, sigma=0.6, servers=1)
CONSTANT, CONSTANT_PER_S = Server("always 10 ms", _scripted(ServiceModel(delay_s=0.010)), None, ()), 50.0
SERVERS = (
    Server("4 slots", _scripted(FOUR), 4 / (0.020 * math.exp(0.5**2 / 2)), ("least-outstanding",)),
    Server("1 slot", _scripted(ONE), 1 / (0.006 * math.exp(0.6**2 / 2)), ("round-robin", "least-outstanding")),
    Server("batches", _batches, MAX_ROWS / (FIXED_S + PER_ROW_S * MAX_ROWS), ("round-robin",)),
    Server("two speeds", _two_speeds, SLOTS / ((1 - SLOW_SHARE) * QUICK_S + SLOW_SHARE * SLOW_S), ("round-robin",)),
    Server(
        "contending",
        _model,
        None,
        ("round-robin",),
        (2,),
        CONTENDING_SHARES,
        "/v2/models/convolutions/infer",
        {"inputs": [INPUT]},
    ),
)
