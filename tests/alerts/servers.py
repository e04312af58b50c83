"""Starts a real Prometheus or Alertmanager on a free port for a test, and asks it over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], ready: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it answers on the URL `ready` when the block begins."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise AssertionError(log.read_text())
                try:
                    urllib.request.urlopen(ready, timeout=5).close()
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.05)  # a foreign server has no event to await
            yield process
        finally:
            process.terminate()


def get(url: str) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of a page."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)
