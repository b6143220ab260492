"""Prints its port, then registers the client that each line names, if any, and prints as JSON the registered clients,
their states in Locust after many of its heartbeat periods, and the messages received from each."""

from __future__ import annotations

import json
import os
import sys

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

import gevent
from locust import runners

from loadgen.master.sockets import GuardedMaster, GuardedServer

runners.HEARTBEAT_INTERVAL = 0.01  # type: ignore[assignment]  # whole seconds are too long for a test
received: list[tuple[str, str]] = []
server = GuardedServer("127.0.0.1", 0, sys.argv[1], lambda client, why: received.append((client, why)))
master = GuardedMaster(server, lambda client, kind, _: received.append((client, kind)), gevent.spawn)
print(server.port, flush=True)
for line in iter(lambda: gevent.get_hub().threadpool.apply(sys.stdin.readline), ""):
    if line.strip():
        master.register(line.strip())
    gevent.sleep(10 * runners.HEARTBEAT_INTERVAL)
    states = {client: node.state for client, node in master.clients.items()}
    print(json.dumps({"listed": states, "received": received}), flush=True)
master.shut_down(0.1)
