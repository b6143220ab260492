"""Render charts with Vega in V8, in a child process, because V8 aborts its process when it cannot
allocate memory.

`python -m reports.charts.renderer` is the child process. The process reads one JSON request per
line from standard input and writes one JSON reply per line to standard output, until standard input
is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

_RESPONSE_TIMEOUT_S = 120.0
_EXIT_TIMEOUT_S = 2.0
_FONTCONFIG_FILE = Path(__file__).parent / "fonts.conf"
"""Hides the system's fonts from Vega, which has its own Liberation Sans. Otherwise, the layout of a
chart would depend on the machine, and Vega would read a font file again for every text."""


class ChartError(Exception):
    """Error that is raised when a chart cannot be drawn; the message contains the reason."""


class ChartRenderer:
    """Client of the renderer process. The first request starts the process; if the process has
    exited, the next request restarts it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render_svg(self, spec: dict[str, Any]) -> str:
        """Render a Vega-Lite specification as SVG. Raises ChartError if the chart cannot be
        drawn."""
        return self._request({"spec": spec})

    def bundle_library(self, snippet: str) -> str:
        """Bundle Vega with the JavaScript `snippet` that uses Vega. Raises ChartError if bundling
        fails."""
        return self._request({"library": snippet})

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _request(self, request: dict[str, Any]) -> str:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._stop()
                self._process = _start_process()
            process = self._process
            watchdog = threading.Timer(_RESPONSE_TIMEOUT_S, process.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
                with contextlib.suppress(BrokenPipeError):  # a missing reply is handled below
                    stdin.write(json.dumps(request).encode() + b"\n")
                    stdin.flush()
                line = stdout.readline()
            finally:
                watchdog.cancel()
            if not line.endswith(b"\n"):
                raise ChartError(f"the chart renderer {self._stop()}")
        response = json.loads(line)
        if "error" in response:
            raise ChartError(response["error"])
        return str(response["text"])

    def _stop(self) -> str:
        """Stop the renderer process, and kill it if it does not exit in time. Return a phrase that
        describes how the process ended."""
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
def get_chart_renderer() -> ChartRenderer:
    """Return the chart renderer of this process. The renderer is shared, because starting Vega
    takes longer than rendering a whole report."""
    renderer = ChartRenderer()
    atexit.register(renderer.close)
    return renderer


def _start_process() -> subprocess.Popen[bytes]:
    """Start the renderer process in a separate session, so that Ctrl-C in a terminal does not
    interrupt the process. The option -P excludes the working directory from the import path.
    """
    is_windows = sys.platform == "win32"
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "reports.charts.renderer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "FONTCONFIG_FILE": str(_FONTCONFIG_FILE)},
            stderr=subprocess.DEVNULL,  # V8 dumps its state here when it aborts
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
            # The first two lines are the message; a JavaScript stack trace follows.
            response = {"error": " ".join(str(error).splitlines()[:2])}
        else:
            response = {"text": text}
        sys.stdout.buffer.write(json.dumps(response).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
