import pytest

from loadgen.payloads.sessions import (
    SessionGraph,
    SessionOutcome,
    SessionRequest,
    SessionState,
    build_session_graph,
)


def graph(*parents: tuple[int, ...]) -> SessionGraph:
    return build_session_graph([SessionRequest(text="t", tokens=1, parents=some) for some in parents])


CHAIN = graph((), (0,), (1,))
FAN = graph((), (0,), (0,), (0,), (1, 2, 3))
"""One request, three that follow it in parallel, and one that follows all of them."""


def test_a_chain_goes_on_until_its_last_request_has_succeeded() -> None:
    state = SessionState(CHAIN)
    assert [state.on_success(index) for index in range(3)] == [[1], [2], []]
    assert (state.outcome, state.is_over) == (SessionOutcome.COMPLETED, True)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_a_join_starts_after_the_last_of_its_parents(order: tuple[int, ...]) -> None:
    state = SessionState(FAN)
    assert state.on_success(0) == [1, 2, 3]
    assert state.pending_count == 3
    assert [state.on_success(index) for index in order] == [[], [], [4]]
    assert not state.is_over
    state.on_success(4)
    assert state.is_over


def test_nothing_starts_after_a_failure_and_the_session_is_over_when_all_have_ended() -> None:
    state = SessionState(FAN)
    state.on_success(0)
    state.end(SessionOutcome.FAILED, dropped_count=1)
    assert (state.outcome, state.is_over) == (SessionOutcome.FAILED, False)
    assert [state.on_success(index) for index in (2, 3)] == [[], []]
    assert (state.outcome, state.is_over) == (SessionOutcome.FAILED, True)


def test_the_first_outcome_stays() -> None:
    state = SessionState(CHAIN)
    state.on_success(0)
    state.end(SessionOutcome.CONTEXT_LIMIT, dropped_count=1)
    state.end(SessionOutcome.FAILED)
    assert state.outcome == SessionOutcome.CONTEXT_LIMIT


def test_the_turn_of_a_request_is_after_those_of_all_its_parents() -> None:
    assert FAN.turns == (0, 1, 1, 1, 2)
    assert FAN.children == ((1, 2, 3), (4,), (4,), (4,), ())
    assert graph((), (0,), (1,), (0, 2)).turns == (0, 1, 2, 3)


@pytest.mark.parametrize("parents", [[(0,)], [(), ()], [(), (1,)], [(), (0, 0)], [(), (2,), (0,)], [(), (-1,)]])
def test_what_is_no_graph_of_a_session(parents: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="parents"):
        graph(*parents)
