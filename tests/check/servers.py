"""Small real HTTP servers: one that answers whatever a test wants, and one that replays what a real Grafana answered.

Debian has no package of Grafana; tests/check/record_grafana.py recorded the answers.
"""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Respond = Callable[[BaseHTTPRequestHandler], None]

RECORDED = Path(__file__).with_name("grafana_answers.json")


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
    """A Grafana that lets in one user by password, and one service account by token, and answers as a real one did.

    Args:
        dashboards: uid -> whether it was provisioned from a file.

    Attributes:
        queries: by words of an expression, which recorded answer it gets; any other gets "one series" or "a graph".
        itself: which recorded answer its Prometheus gives when it is asked itself.
    """

    USER, PASSWORD, TOKEN = "viewer", "open: sesame", "glsa_abcdefghijklmnop_01234567"
    RECORDED: ClassVar[dict[str, dict[str, Any]]] = json.loads(RECORDED.read_text(encoding="utf-8"))

    def __init__(self, dashboards: Mapping[str, bool]) -> None:
        self.dashboards = dict(dashboards)
        self.queries: dict[str, str] = {}
        self.itself = "Prometheus: nothing"

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        answer = self.RECORDED[self._which(handler)]
        body = json.dumps(answer["body"]).encode()
        reply(handler, answer["status"], body, **{"Content-Type": "application/json"})

    def _which(self, handler: BaseHTTPRequestHandler) -> str:
        basic = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        if handler.headers.get("Authorization") not in (f"Bearer {self.TOKEN}", f"Basic {basic}"):
            return "wrong token"
        if handler.path == "/api/ds/query":
            (query,) = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))["queries"]
            asked = (name for words, name in self.queries.items() if words in query["expr"])
            return next(asked, "one series" if query["instant"] else "a graph")
        if handler.path.startswith("/api/datasources/uid/commeazy-prometheus/resources/api/v1/query?query="):
            return self.itself
        provisioned = self.dashboards.get(handler.path.removeprefix("/api/dashboards/uid/"))
        return {True: "provisioned", False: "made by hand", None: "no such dashboard"}[provisioned]
