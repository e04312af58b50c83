"""The receivers of Alertmanager in the lab: one server that logs PagerDuty events and webhooks as JSON lines.

`python -m lab.fakes.receivers PORT FILE` serves on 127.0.0.1 until it is ended. The path says which receiver was meant;
those that FILE names are refused.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.running.server import WebServer, tcp_accepts

if TYPE_CHECKING:
    from lab.running.server import Workspace

_REFUSED = "refused"  # a file in the server's directory: names of receivers
_RUNBOOK = re.compile(r"/(\w+)\.md\b")


@dataclass(frozen=True)
class Notification:
    """One alert in one message: when it came (seconds since the epoch), its receiver, and what a person reads."""

    at: float
    receiver: str
    alert: str
    resolved: bool
    text: str


class Receivers(WebServer):
    """The people on call.

    Args:
        lab: where it runs.
    """

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, "receivers")

    def command(self) -> list[str]:
        """Run this module."""
        return [sys.executable, "-m", "lab.fakes.receivers", str(self.port), str(self.directory / _REFUSED)]

    def is_ready(self) -> bool:
        """It listens."""
        return tcp_accepts(self.port)

    def refuse(self, *names: str) -> None:
        """Answer these receivers' notifications with 403 from now on, and all others' with success."""
        (self.directory / _REFUSED).write_text(" ".join(names), encoding="utf-8")

    def notifications(self) -> list[Notification]:
        """Return what has arrived so far, oldest first."""
        return [Notification(**report) for report in self.reports()]


def read_event(event: dict[str, Any], receiver: str, at: float, groups: dict[str, str]) -> list[Notification]:
    """Read an event of PagerDuty's Events API v2.

    Our details name each firing alert's runbook, and so the alert; a resolution may name none, but has the key of the
    group that once fired. `groups` remembers those.
    """
    resolved = event["event_action"] == "resolve"
    details: dict[str, str] = event.get("payload", {}).get("custom_details", {})
    text = " ".join([event.get("payload", {}).get("summary", ""), *details.values()])
    if found := _RUNBOOK.search(text):
        groups[event["dedup_key"]] = found[1]  # all of a group have the name in common
    return [Notification(at, receiver, groups[event["dedup_key"]], resolved, text)]


def read_webhook(message: dict[str, Any], receiver: str, at: float) -> list[Notification]:
    """Read a message of Alertmanager's webhook."""
    return [
        Notification(
            at,
            receiver,
            alert["labels"]["alertname"],
            alert["status"] == "resolved",
            " ".join(alert["annotations"].get(name, "") for name in ("summary", "description", "runbook_url")),
        )
        for alert in message["alerts"]
    ]


def _refused(file: Path) -> list[str]:
    """Return the receivers that are refused now."""
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def _serve(port: int, refused: Path) -> None:
    groups: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver, now = self.path.strip("/"), time.time()
            if receiver in _refused(refused):
                self.send_error(HTTPStatus.FORBIDDEN)
                return
            if "event_action" in body:
                told = read_event(body, receiver, now, groups)
            else:
                told = read_webhook(body, receiver, now)
            for notification in told:
                sys.stdout.write(json.dumps(asdict(notification)) + "\n")  # in one piece: there are several threads
                sys.stdout.flush()
            answer = b'{"status":"success","message":"Event processed","dedup_key":"lab"}'
            self.send_response(HTTPStatus.ACCEPTED if "event_action" in body else HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log what was said, not that it was."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
