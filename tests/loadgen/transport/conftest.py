import functools

import pytest

from tests.fakes.grpc_client import INFER, STREAM, RunGrpcClient, run_grpc_client_on
from tests.fakes.http_client import LOOPS, RunHttpClient, run_http_client_on


@pytest.fixture(params=list(LOOPS))
def run_http_client(request: pytest.FixtureRequest) -> RunHttpClient:
    """Runs a test's requests to an endpoint, on each kind of event loop."""
    return functools.partial(run_http_client_on, request.param)


@pytest.fixture(params=[INFER, STREAM], ids=["unary", "stream"])
def method(request: pytest.FixtureRequest) -> str:
    method: str = request.param
    return method


@pytest.fixture(params=list(LOOPS))
def run_grpc_client(request: pytest.FixtureRequest, method: str) -> RunGrpcClient:
    """Runs a test's calls to an endpoint, on each kind of event loop, as unary and as streaming calls."""
    return lambda endpoint, talk: run_grpc_client_on(request.param, endpoint, talk, method)
