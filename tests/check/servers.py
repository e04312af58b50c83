"""Small real HTTP servers: one that answers whatever a test wants, and a Grafana as far as its documented API is asked.

Debian has no package of Grafana, so its answers are written from its documentation (HTTP API, "Get dashboard by uid").
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Respond = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """Run a server that answers each request by `respond`; the block gets its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def do_POST(self) -> None:
            respond(self)

        def log_message(self, *_: object) -> None:
            """Say nothing for each request."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing when a client hangs up on an answer it has had enough of."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """Send one whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def always(status: int, body: bytes, **headers: str) -> Respond:
    """Answer everything alike."""
    return lambda handler: reply(handler, status, body, **headers)


class Api:
    """Answers of a JSON API by path, or by path, a space and the PromQL expression asked; anything else is Go's 404.

    Attributes:
        asked: what was asked so far, and the Authorization header with it.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        key = " ".join((path, *parse_qs(query).get("query", ())))
        self.asked.append((key, handler.headers.get("Authorization")))
        if key in self.answers:
            reply(handler, 200, json.dumps(self.answers[key]).encode())
        else:
            reply(handler, 404, b"404 page not found\n")


class FakeGrafana:
    """A Grafana that lets in one user by password, and one service account by token.

    Args:
        dashboards: uid -> whether it was provisioned from a file.

    Attributes:
        series: what a query gives, by words of its expression: labels and a value; None for nothing, a text for an
            error. Any other query gives one series.
    """

    USER, PASSWORD, TOKEN = "viewer", "open: sesame", "glsa_abcdefghijklmnop_01234567"

    def __init__(self, dashboards: Mapping[str, bool]) -> None:
        self.dashboards = dict(dashboards)
        self.series: dict[str, tuple[dict[str, str], float | None] | str | None] = {}

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        basic = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        if handler.headers.get("Authorization") not in (f"Bearer {self.TOKEN}", f"Basic {basic}"):
            self._json(handler, 401, {"message": "Unauthorized", "messageId": "session.token.rotate"})
            return
        if handler.path == "/api/ds/query":
            self._query(handler)
            return
        uid = handler.path.removeprefix("/api/dashboards/uid/")
        if uid not in self.dashboards:
            self._json(handler, 404, {"message": "Dashboard not found", "traceID": ""})
            return
        provisioned = self.dashboards[uid]
        external = {"provisioned": provisioned, "provisionedExternalId": f"{uid}.json" if provisioned else ""}
        meta = {
            "type": "db",
            "slug": uid,
            "url": f"/d/{uid}/{uid}",
            "folderTitle": "CommEazy",
            "version": 1,
            **external,
        }
        self._json(handler, 200, {"meta": meta, "dashboard": {"id": 1, "uid": uid, "title": uid, "panels": []}})

    def _query(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        (query,) = body["queries"]
        found = next((given for words, given in self.series.items() if words in query["expr"]), ({"instance": "a"}, 1))
        if isinstance(found, str):
            self._json(handler, 400, {"results": {"A": {"error": found, "status": 400, "frames": []}}})
            return
        frames = []
        if found:
            fields = [{"name": "Time", "type": "time"}, {"name": "Value", "type": "number", "labels": found[0]}]
            schema = {"refId": query["refId"], "fields": fields}
            frames = [{"schema": schema, "data": {"values": [[1795900000000], [found[1]]]}}]
        self._json(handler, 200, {"results": {query["refId"]: {"status": 200, "frames": frames}}})

    @staticmethod
    def _json(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
        reply(handler, status, json.dumps(body).encode(), **{"Content-Type": "application/json"})
