import sys
from collections.abc import Iterator

import pytest

from loadgen.machine import MAX_DESCRIPTORS, get_max_descriptors, raise_descriptor_limit

if sys.platform == "win32":
    pytest.skip("Windows has no limit on sockets", allow_module_level=True)

import resource


@pytest.fixture(autouse=True)
def hard() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_as_far_as_the_hard_one_allows(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    expected = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    assert get_max_descriptors() == expected
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)


def test_a_higher_soft_limit_stays(hard: int) -> None:
    if hard != resource.RLIM_INFINITY and hard <= MAX_DESCRIPTORS:
        pytest.skip("the hard limit of this machine is not above it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS + 1, hard))
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == get_max_descriptors() == MAX_DESCRIPTORS + 1
