"""A target that plays back a recorded answer, its counters rising with every scrape; for what the lab cannot run.

`python -m lab.fakes.recorded FILE PORT` serves it on 127.0.0.1 until it is ended. Each event of a histogram falls into
its lowest bucket. Gauges stay as they were recorded.
"""

from __future__ import annotations

import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from lab.fakes.recordings import FOLDER
from lab.running.server import ScrapeTarget, Server, Workspace, http_answers

TYPE = re.compile(r"# TYPE (\S+) (\w+)")
SAMPLE = re.compile(r"(?P<series>(?P<name>[a-zA-Z_:][\w:]*)(?:\{.*\})?) (?P<value>\S+)")


class Recorded(Server):
    """One recorded answer as a target of the lab.

    Args:
        lab: where it runs.
        job: the job it is scraped in.
        instance: the node name it is scraped under.
        recording: a file of `tests/recorded`, without `.prom`.
    """

    def __init__(self, lab: Workspace, job: str, instance: str, recording: str) -> None:
        super().__init__(lab, f"{job}-{instance}")
        self.file = FOLDER / f"{recording}.prom"
        self.port = lab.ports.reserve()
        self.target = ScrapeTarget(job, instance, self.port)

    @property
    def address(self) -> str:
        """Its page of metrics."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def command(self) -> list[str]:
        """Run this module."""
        return [sys.executable, "-m", "lab.fakes.recorded", str(self.file), str(self.port)]

    def is_ready(self) -> bool:
        """Ask for a page that is not counted as a scrape."""
        return http_answers(f"http://127.0.0.1:{self.port}/-/ready", HTTPStatus.OK)


def grown(text: str, scrapes: int) -> str:
    """Return a recorded answer as it would be after so many more events of each kind."""
    kinds = {match[1]: match[2] for match in TYPE.finditer(text)}
    lines = []
    for line in text.splitlines():
        sample = SAMPLE.fullmatch(line)
        if sample and rises(sample["name"], kinds):
            lines.append(f"{sample['series']} {float(sample['value']) + scrapes}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def rises(name: str, kinds: dict[str, str]) -> bool:
    """Tell whether a sample of this name counts something, by the kinds of the families."""
    family = re.sub(r"_(bucket|count)$", "", name)
    return kinds.get(name) == "counter" or (family != name and kinds.get(family) == "histogram")


def _serve(text: str, port: int) -> None:
    scrapes = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            scrapes += self.path == "/metrics"
            body = grown(text, scrapes).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing for each scrape."""

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]).read_text(encoding="utf-8"), int(sys.argv[2]))
