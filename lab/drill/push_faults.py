"""Ways to break the push gateway, its providers, and the phones; see faults.py."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lab.fakes.providers import Mood

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.running.server import Server
    from lab.stack import Lab


@contextmanager
def providers(lab: Lab, mood: Mood) -> Iterator[None]:
    """Apple or Google refuse, take their time, or deliver nothing."""
    lab.providers.behave(mood)
    yield
    lab.providers.behave(Mood())


@contextmanager
def spoiled(lab: Lab, key: Path) -> Iterator[None]:
    """Somebody wrote a key file wrong and reloaded the gateways."""
    text = key.read_text()
    key.write_text("not a key\n")
    _reload_gateways(lab)
    yield
    key.write_text(text)
    _reload_gateways(lab)


def _reload_gateways(lab: Lab) -> None:
    for node in lab.nodes:
        os.kill(node.push_gateway.pid, signal.SIGHUP)


@contextmanager
def exposed(key: Path) -> Iterator[None]:
    """Somebody copied a key file without a thought for its mode."""
    key.chmod(0o644)
    yield
    key.chmod(0o600)


@contextmanager
def lost_canary(lab: Lab) -> Iterator[None]:
    """The gateway of the first node pushes to a test phone that is off."""
    gateway = lab.push_gateway
    canary = {"CANARY_FCM_TOKEN": "canary:APA91bF-test_phone", "CANARY_INTERVAL": "2s"}
    gateway.settings |= canary
    gateway.restart()
    yield
    for name in canary:
        del gateway.settings[name]
    gateway.restart()


@contextmanager
def another_secret(lab: Lab) -> Iterator[None]:
    """The gateway of the first node was given a new secret, and Prosody was not."""
    gateway = lab.push_gateway
    gateway.settings["PUSH_SECRET"] = "another-secret"  # noqa: S105 - guards nothing
    gateway.restart()
    yield
    del gateway.settings["PUSH_SECRET"]
    gateway.restart()


@contextmanager
def crash_loop(lab: Lab, server: Server, times: int) -> Iterator[None]:
    """It dies again and again, and lives long enough in between to be scraped."""
    for _ in range(times):
        server.kill()
        server.start()
        time.sleep(2 * lab.prometheus.interval)
    yield


@contextmanager
def half_requests(server: Server, port: int, count: int) -> Iterator[None]:
    """So many clients that never finish their request; what they cost comes back with a restart only."""
    head = b"POST /push HTTP/1.1\r\nHost: lab\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n"
    with ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.sendall(head + b" " * 4000)
        yield
    server.restart()
