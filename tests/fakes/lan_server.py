"""The scripted server at an address that other hosts reach: `python -m tests.fakes.lan_server HOST DELAY_S` prints its
port. For each line on its standard input it prints the receive times of all requests so far, in JSON. It ends when its
standard input is closed."""

from __future__ import annotations

import asyncio
import json
import sys

from loadgen.reference.scripted import Script, ScriptedServer


async def serve(host: str, delay_s: float) -> None:
    scripted = ScriptedServer(Script(delay_s=delay_s), stores_requests=False)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(scripted.create_protocol, host, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(scripted.received_ns), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
