"""A master's port at which nobody accepts messages: prints the port, and ends when standard input is closed."""

from __future__ import annotations

import os
import sys

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from loadgen.master.sockets import GuardedServer

server = GuardedServer("127.0.0.1", 0, sys.argv[1], lambda *_: None)
print(server.port, flush=True)
sys.stdin.read()
server.socket.close(linger=0)
