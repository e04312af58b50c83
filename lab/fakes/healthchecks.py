"""A dead man's switch as Healthchecks has it (https://healthchecks.io/docs/): who is silent for too long is down.

It knows the part of its pinging API that Alertmanager uses (POST), and calls nobody.
"""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Self
from uuid import uuid4


class Healthchecks:
    """One check of Healthchecks, on a port of 127.0.0.1, while it is entered.

    Args:
        period: seconds in which a ping is expected.
        grace: seconds after them until it raises the alarm.

    Attributes:
        url: where to send pings.
        alarms: how often it has told somebody that the check is down.
    """

    def __init__(self, period: float, grace: float) -> None:
        self._limit = period + grace
        self._lock = Lock()
        self._last: float | None = None
        self._down = False
        self.alarms = 0
        path = f"/{uuid4()}"
        check = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))  # it takes any body, and keeps it
                known = self.path == path
                if known:
                    check._ping()
                text = b"OK" if known else b"(not found)"
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def status(self) -> str:
        """Return new (never pinged), up, or down."""
        with self._lock:
            if self._last is None:
                return "new"
            if not self._down and time.monotonic() - self._last > self._limit:
                self._down, self.alarms = True, self.alarms + 1
            return "down" if self._down else "up"

    def _ping(self) -> None:
        with self._lock:
            self._last, self._down = time.monotonic(), False
