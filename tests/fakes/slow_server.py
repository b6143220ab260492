"""A user's own server, run as a command: `python slow_server.py PORT [OPTION=VALUE...]`. It uses nothing of the
product.

`after=S`: seconds until it is ready; `says=TEXT`: printed at the start; `dies_after=N`: exits with code 7 at the Nth
request; `child=FILE`: starts a child of its own that would outlive it, and writes its process ID there; `deaf=1`:
ignores SIGTERM; `environment=NAME`: prints that variable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SLEEPER = [sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"]


def main() -> None:
    port, options = int(sys.argv[1]), dict(option.split("=", 1) for option in sys.argv[2:])
    started_s, requests = time.monotonic(), 0
    if "deaf" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "says" in options:
        print(options["says"], flush=True)
    if "environment" in options:
        print("the key is", os.environ[options["environment"]], flush=True)
    if "child" in options:
        Path(options["child"]).write_text(str(subprocess.Popen(SLEEPER).pid))

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            late = time.monotonic() - started_s < float(options.get("after", 0))
            self._answer(503 if late else 200)

        def do_POST(self) -> None:
            nonlocal requests
            requests += 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if requests == int(options.get("dies_after", 0)):
                print("it is too much", flush=True)
                os._exit(7)
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()


if __name__ == "__main__":
    main()
