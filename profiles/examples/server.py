"""A small HTTP endpoint to measure: POST /score takes about 20 ms, four requests at a time.

python3 server.py [PORT]
"""

import http.server
import json
import sys
import threading
import time

_SLOTS = threading.Semaphore(4)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise the body of a response waits up to 40 ms for an acknowledgment

    def do_GET(self) -> None:
        self._respond({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with _SLOTS:
            time.sleep(0.02)
        self._respond({"score": sum(body["features"])})

    def _respond(self, document: dict[str, object]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """No line for each request."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """No traceback for a client that does not wait for its response."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Server(("127.0.0.1", port), Handler).serve_forever()
