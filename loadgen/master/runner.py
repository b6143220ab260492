"""Locust's master, which starts one user on each worker and carries messages.

It hears in words of ours what workers say to it, and never their heartbeats: it goes by counts, a worker by the wall
clock, and whoever misses some is dropped, or stopped, in the middle of a stage.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

import gevent
from locust import User, runners, task
from locust.env import Environment
from locust.rpc import Message, zmqrpc
from locust.runners import MasterRunner, WorkerNode

from loadgen.frames import message_body
from loadgen.master.sockets import GuardedServer, message_to
from loadgen.records import Command


class ArrivalUser(User):
    """The one that runs on each worker; here it only has the name."""

    @task
    def send_arrivals(self) -> None:
        raise NotImplementedError("a master sends nothing")


class GuardedMaster(MasterRunner):
    """Acknowledges every worker, and lists those that it is told to. `on_message(client, type, body)` gets what is not
    Locust's, and must not raise; `spawn` starts greenlets."""

    def __init__(
        self,
        server: GuardedServer,
        on_message: Callable[[str, str, bytes], None],
        spawn: Callable[[Callable[[], None]], object],
    ) -> None:
        self._guarded, self._on_message, self._spawn = server, on_message, spawn
        # what Locust finds remarkable is no word of ours
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        locusts = zmqrpc.Server
        zmqrpc.Server = lambda *_: server  # type: ignore[assignment,misc]  # no other way in
        try:
            super().__init__(Environment(user_classes=[ArrivalUser]), "", 0)
        finally:
            zmqrpc.Server = locusts  # type: ignore[misc]

    def heartbeat_worker(self) -> NoReturn:
        """It would drop workers, and the guarded socket for one that is not."""
        raise gevent.GreenletExit

    def handle_message(self, client_id: str, message: Message) -> None:
        match message.type:
            case "client_ready":
                self._guarded.send_to_client(message_to(client_id, "ack", {"index": 0}))
            case "report" | "rows":
                self._on_message(client_id, message.type, message.data)
            case "spawning_complete" if client_id in self.clients:
                message.data = {"user_classes_count": {ArrivalUser.__name__: 1}}
                super().handle_message(client_id, message)
            case "spawning" if client_id in self.clients:
                super().handle_message(client_id, message)

    def tell(self, client_id: str, command: Command) -> None:
        self._guarded.send_to_client(message_to(client_id, "command", message_body(command)))

    def enlist(self, client_id: str) -> None:
        self.clients[client_id] = WorkerNode(client_id)

    def strike(self, client_id: str) -> None:
        if client_id in self.clients:
            del self.clients[client_id]

    def begin(self, then: Callable[[], None]) -> None:
        """One user on each worker; `then` is called once all have begun, or after a second."""

        def start() -> None:
            self.start(user_count=len(self.clients), spawn_rate=len(self.clients))
            then()

        self._spawn(start)

    def leave(self, within_s: float) -> None:
        """Hear nothing more, and give what was told so long to leave."""
        self.greenlet.kill(block=True)
        self._guarded.leave(within_s)
