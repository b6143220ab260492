"""Records all bytes of one connection to a port of this machine."""

from __future__ import annotations

import socket
import threading


class RecordingProxy:
    """Forwards to 127.0.0.1:`port`. `recorded` has the bytes of both directions, in the order of their arrival."""

    def __init__(self, port: int) -> None:
        self.recorded = bytearray()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = []
        self._thread = threading.Thread(target=self._listen, name="recording-proxy", daemon=True)

    def __enter__(self) -> RecordingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _listen(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        self._ends = [near, far]
        back = threading.Thread(target=self._pass, args=(far, near), name="tap-back", daemon=True)
        back.start()
        self._pass(near, far)
        back.join()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65_536):
                self.recorded += piece
                sink.sendall(piece)
        except OSError:  # it was shut down
            pass
