"""One request of the workload from each host: one may lack a network, a name or a file that another has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from loadgen.master.crew import Member
from loadgen.master.merging import merged_preflight
from loadgen.records import Command, Preflight, PreflightDone


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
