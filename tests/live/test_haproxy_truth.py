"""What a real HAProxy says of servers that take no connections, which haproxy_backend_up is recorded from."""

from __future__ import annotations

import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lab.running.server import Workspace
from lab.servers.haproxy import Haproxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.servers.prosody import Prosody


@contextmanager
def checked(name: str) -> Iterator[Prosody]:
    """Serve what HAProxy's health check asks for, in place of a Prosody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield cast("Any", SimpleNamespace(name=name, http_port=server.server_port))
        server.shutdown()


def _said(haproxy: Haproxy, metric: str) -> float:
    """Return the value of one series of the backend."""
    with urllib.request.urlopen(f"http://127.0.0.1:{haproxy.stats_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{metric} ")]
    return float(value)


def test_a_server_with_weight_0_is_up_and_takes_nothing_and_without_any_other_the_backend_is_down() -> None:
    up = 'haproxy_server_status{proxy="prosody_ws",server="prosody1",state="UP"}'
    down = 'haproxy_backend_status{proxy="prosody_ws",state="DOWN"}'
    weight = 'haproxy_server_weight{proxy="prosody_ws",server="prosody1"}'
    with checked("prosody1") as one, checked("prosody2") as two, Workspace() as lab:
        haproxy = Haproxy(lab, [one, two])
        haproxy.start()
        assert (_said(haproxy, up), _said(haproxy, weight), _said(haproxy, down)) == (1, 100, 0)
        haproxy.tell("set server prosody_ws/prosody1 weight 0")
        assert (_said(haproxy, up), _said(haproxy, weight), _said(haproxy, down)) == (1, 0, 0)
        haproxy.tell("set server prosody_ws/prosody2 weight 0")
        deadline = time.monotonic() + 10
        while not _said(haproxy, down):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert _said(haproxy, up) == 1
