import functools

import pytest

from tests.fakes.asker import LOOPS, Converse, converse_on
from tests.fakes.grpc_caller import INFER, STREAM, Call, call_on


@pytest.fixture(params=list(LOOPS))
def converse(request: pytest.FixtureRequest) -> Converse:
    """Runs a test's requests to an endpoint, on each kind of event loop."""
    return functools.partial(converse_on, request.param)


@pytest.fixture(params=[INFER, STREAM], ids=["unary", "stream"])
def method(request: pytest.FixtureRequest) -> str:
    method: str = request.param
    return method


@pytest.fixture(params=list(LOOPS))
def call(request: pytest.FixtureRequest, method: str) -> Call:
    """Runs a test's calls to an endpoint, on each kind of event loop, as unary and as streaming calls."""
    return lambda endpoint, talk: call_on(request.param, endpoint, talk, method)
