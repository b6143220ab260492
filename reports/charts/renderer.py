"""The chart renderer: Vega in V8, in a child process, because V8 aborts its process when it cannot allocate memory.

`python -m reports.charts.renderer` is the child process: one JSON request per line on standard input, one JSON reply
per line on standard output, until standard input closes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import sys
import threading
from functools import cache
from typing import IO, Any, cast

_REPLY_TIMEOUT_S = 120.0
_EXIT_TIMEOUT_S = 2.0


class ChartError(Exception):
    """Raised when a chart cannot be drawn; the message has the reason."""


class ChartRenderer:
    """Runs the renderer process. It starts with the first request, and again after it exited. Requests may come from
    any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render_svg(self, spec: dict[str, Any]) -> str:
        """Draw one Vega-Lite specification. Raises ChartError."""
        return self._request({"spec": spec})

    def bundle_library(self, snippet: str) -> str:
        """Bundle Vega with a script that uses it. Raises ChartError."""
        return self._request({"library": snippet})

    def close(self) -> None:
        with self._lock:
            self._end()

    def _request(self, request: dict[str, Any]) -> str:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._process = _start()
            process = self._process
            watchdog = threading.Timer(_REPLY_TIMEOUT_S, process.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
                with contextlib.suppress(BrokenPipeError):  # the missing reply reports it too
                    stdin.write(json.dumps(request).encode() + b"\n")
                    stdin.flush()
                line = stdout.readline()
            finally:
                watchdog.cancel()
            if not line.endswith(b"\n"):
                raise ChartError(f"the chart renderer {self._end()}")
        reply = json.loads(line)
        if "error" in reply:
            raise ChartError(reply["error"])
        return str(reply["text"])

    def _end(self) -> str:
        """End the process, and kill it if it does not exit by itself. Returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "is not running"
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], process.stdin).close()
        try:
            code = process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        cast(IO[bytes], process.stdout).close()
        return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


@cache
def chart_renderer() -> ChartRenderer:
    """Return the renderer of this process; it is shared because Vega takes longer to start than to draw a report."""
    renderer = ChartRenderer()
    atexit.register(renderer.close)
    return renderer


def _start() -> subprocess.Popen[bytes]:
    """Start the child process.

    It has its own session, so that Ctrl-C in a terminal does not reach it; -P keeps the working directory off its
    import path.
    """
    is_windows = sys.platform == "win32"
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "reports.charts.renderer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # V8's dump on an abort
            start_new_session=not is_windows,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise ChartError(f"the chart renderer could not start: {error.strerror}") from error


def _serve() -> None:
    import vl_convert

    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if "spec" in request:
                text = vl_convert.vegalite_to_svg(request["spec"])
            else:
                text = vl_convert.javascript_bundle(request["library"])
        except ValueError as error:
            reply = {"error": " ".join(str(error).splitlines()[:2])}  # a JavaScript stack trace follows
        else:
            reply = {"text": text}
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
