import sys
from collections.abc import Iterator

import pytest

from loadgen.machine import MAX_DESCRIPTORS, get_max_descriptors, raise_descriptor_limit

if sys.platform == "win32":
    pytest.skip("Windows has no limit on sockets", allow_module_level=True)

import resource


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[int]:
    limits_before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits_before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits_before)


def test_soft_descriptor_limit_is_raised_up_to_hard_limit(hard_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard_limit))
    expected = MAX_DESCRIPTORS if hard_limit == resource.RLIM_INFINITY else min(hard_limit, MAX_DESCRIPTORS)
    assert get_max_descriptors() == expected
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard_limit)


def test_higher_soft_descriptor_limit_is_unchanged(hard_limit: int) -> None:
    if hard_limit != resource.RLIM_INFINITY and hard_limit <= MAX_DESCRIPTORS:
        pytest.skip("the hard limit of this machine is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS + 1, hard_limit))
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == get_max_descriptors() == MAX_DESCRIPTORS + 1
