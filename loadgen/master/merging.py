"""What several workers told, as one would have told it.

One request of the workload from each host: one may lack a network, a name or a file that another
has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from loadgen.master.crew import Member
from loadgen.records import Command, Failed, FirstError, Preflight, PreflightDone, Progress, StageEnded, WorkerPart


def merged_preflight(answers: Sequence[tuple[str, PreflightDone]]) -> PreflightDone:
    """Of each host's name and answer, in the crew's order: the first failure, else the slowest."""
    failures = [(host, done) for host, done in answers if done.error is not None]
    host, told = failures[0] if failures else max(answers, key=lambda answer: answer[1].service_ms or 0.0)
    return msgspec.structs.replace(
        told,
        detail=_from_host(told.detail, host) if failures and len(answers) > 1 else told.detail,
        notes=_without_doubles(note for _, done in answers for note in done.notes),
        hosts=_without_doubles(name for _, done in answers for name in done.hosts),
        keeps_connection=all(done.keeps_connection for _, done in answers),
    )


def failure_from(host: str, failed: Failed) -> Failed:
    """For where there is more than one host."""
    return msgspec.structs.replace(failed, message=_from_host(failed.message, host))


def merged_progress(index: int, at_ns: int, latest: Sequence[Progress]) -> Progress:
    """Of the latest progress of each worker."""
    return Progress(
        index=index,
        at_ns=at_ns,
        intended=sum(one.intended for one in latest),
        sent=sum(one.sent for one in latest),
        completed=sum(one.completed for one in latest),
        failed=sum(one.failed for one in latest),
        in_flight=summed(one.in_flight for one in latest),
        max_lag_ms=max((one.max_lag_ms for one in latest), default=0.0),
        first_errors=earliest(one.first_errors for one in latest),
    )


def merged_end(
    index: int,
    start_ns: int,
    scheduled: int | None,
    ends: Sequence[StageEnded],
    workers: tuple[WorkerPart, ...],
    first_errors: tuple[FirstError, ...] = (),
) -> StageEnded:
    """Of one end or more, whose times are on the master's clock. Each drew the same rate curve. `first_errors` are of
    all, those that were lost too."""
    return StageEnded(
        index=index,
        start_ns=start_ns,
        end_ns=max(end.end_ns for end in ends),
        scheduled=scheduled,
        never_started=sum(end.never_started for end in ends),
        cpu_s=sum(end.cpu_s for end in ends),
        connections_opened=sum(end.connections_opened for end in ends),
        stopped_early=any(end.stopped_early for end in ends),
        rates=ends[0].rates,
        workers=workers,
        waited_s=max((end.waited_s for end in ends if end.waited_s is not None), default=None),
        first_errors=first_errors,
        duration_s=min((end.duration_s for end in ends if end.duration_s is not None), default=None),
    )


def earliest(told: Iterable[tuple[FirstError, ...]]) -> tuple[FirstError, ...]:
    """Of each class the first, in the order of their times."""
    first: dict[str, FirstError] = {}
    for one in sorted((one for each in told for one in each), key=lambda one: one.at_ns):
        first.setdefault(one.error, one)
    return tuple(first.values())


def summed(counts: Iterable[int | None]) -> int | None:
    """None where one is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _from_host(text: str, host: str) -> str:
    return f"from {host}: {text}"


def _without_doubles(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


class PreflightRound:
    """`hosts` are the workers of each; the first that is left answers for its host."""

    def __init__(self, hosts: Sequence[Sequence[Member]], tell: Callable[[Member, Command], None]) -> None:
        self._hosts, self._tell = hosts, tell
        self._asked: dict[int, Member] = {}
        self._answers: dict[int, PreflightDone] = {}
        for number in range(len(hosts)):
            self._ask(number)

    def hear(self, member: Member, done: PreflightDone) -> None:
        """Raises ValueError for an answer that was not asked for."""
        number = next((number for number, asked in self._asked.items() if asked is member), None)
        if number is None:
            raise ValueError("said PreflightDone out of turn")
        del self._asked[number]
        end_ns = None if done.end_ns is None else member.line().master_ns(done.end_ns)
        self._answers[number] = msgspec.structs.replace(done, end_ns=end_ns)

    def lose(self, member: Member) -> None:
        for number, asked in list(self._asked.items()):
            if asked is member:
                del self._asked[number]
                self._ask(number)

    def outcome(self) -> PreflightDone | None:
        """None while somebody is still asked."""
        if self._asked or not self._answers:
            return None
        names = [host[0].hello.host for host in self._hosts]
        return merged_preflight([(names[number], self._answers[number]) for number in sorted(self._answers)])

    def _ask(self, number: int) -> None:
        member = next((one for one in self._hosts[number] if one.lost is None), None)
        if member is not None:
            self._asked[number] = member
            self._tell(member, Preflight())
