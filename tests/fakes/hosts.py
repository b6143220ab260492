"""Several hosts on one machine, each with its own name, network and monotonic clock, joined by a bridge.

A host is a process that holds its namespaces (network_namespaces(7), time_namespaces(7)); they and their links end with
it. Needs root, unshare, nsenter and ip."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.fakes.sockets import listening

_HOLD = "import os, socket, sys; socket.sethostname(sys.argv[1]); print(os.getpid(), flush=True); sys.stdin.read()"


class Host:
    def __init__(self, name: str, address: str, monotonic_s: int) -> None:
        """Its monotonic clock is `monotonic_s` ahead of this machine's."""
        self.name, self.address = name, address
        clock = ["--time", "--monotonic", str(monotonic_s)] if monotonic_s else []
        self._holder = subprocess.Popen(
            ["unshare", "--uts", "--net", *clock, "--fork", "--kill-child", "--", sys.executable, "-c", _HOLD, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        self.pid = int(self._holder.stdout.readline())

    @property
    def namespaces(self) -> str:
        return f"/proc/{self.pid}/ns"

    @property
    def enter(self) -> list[str]:
        """Prefix of a command that runs on the host."""
        return ["nsenter", *(f"--{kind}={self.namespaces}/{kind}" for kind in ("uts", "net", "time")), "--"]

    def ip(self, arguments: str) -> None:
        subprocess.run([*self.enter, "ip", *arguments.split()], check=True, timeout=10)

    def listening(self) -> set[str]:
        """Addresses, with ports, of the listening sockets of the host."""
        return set(listening(self.pid).values())

    def count_packets(self) -> None:
        """Set up loopback and a default route to an unconnected cable, so that its packets are counted."""
        self.ip("link set lo up")
        self.ip("link add out type veth peer name nobody")
        for end in ("out", "nobody"):  # without an address of IPv6, which a host announces by itself
            self.ip(f"link set {end} addrgenmode none")
        self.ip(f"addr add {self.address}/24 dev out")
        self.ip("link set out up")
        self.ip("link set nobody up")
        self.ip("route add default dev out")

    def packets_sent(self) -> int:
        """Packets sent by the host beyond loopback, including ARP and DNS requests."""
        command = [*self.enter, "ip", "-json", "-statistics", "link", "show", "out"]
        reported = subprocess.run(command, capture_output=True, check=True, timeout=10).stdout
        return int(json.loads(reported)[0]["stats64"]["tx"]["packets"])

    def close(self) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(10)
        self._holder.stdout.close()


class Network:
    """The first host has the bridge; `disconnect` and `reconnect` control the cable of another host."""

    def __init__(self, first: Host, others: tuple[Host, ...]) -> None:
        self.first, self.others = first, others
        first.ip("link set lo up")
        first.ip("link add bridge type bridge")
        first.ip(f"addr add {first.address}/24 dev bridge")
        first.ip("link set bridge up")
        for host in others:
            cable = _cable(host)
            first.ip(f"link add {cable} type veth peer name eth0 netns {host.pid}")
            first.ip(f"link set {cable} master bridge")
            first.ip(f"link set {cable} up")
            host.ip("link set lo up")
            host.ip(f"addr add {host.address}/24 dev eth0")
            host.ip("link set eth0 up")

    def disconnect(self, host: Host) -> None:
        self.first.ip(f"link set {_cable(host)} down")

    def reconnect(self, host: Host) -> None:
        self.first.ip(f"link set {_cable(host)} up")


@contextmanager
def network(*clocks_s: int) -> Iterator[Network]:
    """Yield 10.77.0.1, host1, and one more host for each clock. Raises OSError, ValueError or CalledProcessError where
    namespaces are not permitted."""
    with ExitStack() as open_hosts:
        hosts = []
        for number, monotonic_s in enumerate((0, *clocks_s), start=1):
            hosts.append(Host(f"host{number}", f"10.77.0.{number}", monotonic_s))
            open_hosts.callback(hosts[-1].close)
        yield Network(hosts[0], tuple(hosts[1:]))


def _cable(host: Host) -> str:
    return f"to{host.address.rpartition('.')[2]}"
