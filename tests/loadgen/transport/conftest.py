import functools

import pytest

from tests.fakes.asker import LOOPS, Converse, converse_on


@pytest.fixture(params=list(LOOPS))
def converse(request: pytest.FixtureRequest) -> Converse:
    """Runs a test's talk with an endpoint, on each kind of loop."""
    return functools.partial(converse_on, request.param)
