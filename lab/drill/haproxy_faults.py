"""Ways to break HAProxy and the certificates that it serves; see faults.py."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.stack import Lab, Node


@contextmanager
def drained(lab: Lab, node: str) -> Iterator[None]:
    """Somebody took a node out of the backend and forgot it."""
    lab.haproxy.tell(f"set server prosody_ws/{node} state maint")
    yield
    lab.haproxy.tell(f"set server prosody_ws/{node} state ready")


@contextmanager
def all_drained(lab: Lab) -> Iterator[None]:
    """Planned work on every node at once."""
    with ExitStack() as nodes:
        for node in lab.nodes:
            nodes.enter_context(drained(lab, node.prosody.name))
        yield


@contextmanager
def unreachable(lab: Lab, node: Node) -> Iterator[None]:
    """The way from HAProxy to one Prosody is cut; Prosody itself works."""
    server = f"prosody_ws/{node.prosody.name}"
    lab.haproxy.tell(f"set server {server} addr 127.0.0.1 port 1")
    yield
    lab.haproxy.tell(f"set server {server} addr 127.0.0.1 port {node.prosody.http_port}")


@contextmanager
def closed_door(lab: Lab) -> Iterator[None]:
    """The users' way in takes no connection."""
    lab.haproxy.tell("disable frontend wss_frontend")
    yield
    lab.haproxy.tell("enable frontend wss_frontend")


@contextmanager
def served(lab: Lab, *, days: float = 90, trusted: bool = True) -> Iterator[None]:
    """HAProxy serves a certificate that ends soon, or one of an authority that nobody knows."""
    lab.haproxy.write_certificate(valid=timedelta(days=days), authority=None if trusted else trustme.CA())
    lab.haproxy.reload()
    yield
    lab.haproxy.write_certificate()
    lab.haproxy.reload()


@contextmanager
def not_reloaded(lab: Lab) -> Iterator[None]:
    """The certificate was renewed, and HAProxy still serves the old one."""
    lab.haproxy.write_certificate()
    yield
    lab.haproxy.reload()


@contextmanager
def idle_connections(lab: Lab, count: int) -> Iterator[None]:
    """So many clients that connect and say nothing."""
    with ExitStack() as clients:
        for _ in range(count):
            clients.enter_context(socket.create_connection(("127.0.0.1", lab.haproxy.tls_port), timeout=10))
        yield


@contextmanager
def narrow_servers(lab: Lab) -> Iterator[None]:
    """Somebody gave the servers of the backend a maxconn of one."""
    for node in lab.nodes:
        lab.haproxy.tell(f"set maxconn server prosody_ws/{node.prosody.name} 1")
    with _asking(lab):
        yield
    for node in lab.nodes:
        lab.haproxy.tell(f"set maxconn server prosody_ws/{node.prosody.name} 0")


@contextmanager
def turned_away(lab: Lab) -> Iterator[None]:
    """Users connect while no server is in use."""
    with all_drained(lab), _asking(lab):
        yield


@contextmanager
def not_accepting(lab: Lab) -> Iterator[None]:
    """Users connect while the Prosodys accept nothing."""
    with ExitStack() as cut:
        for node in lab.nodes:
            cut.enter_context(unreachable(lab, node))
        with _asking(lab):
            yield


@contextmanager
def _asking(lab: Lab) -> Iterator[None]:
    """Six clients that ask for a WebSocket again and again."""
    over = threading.Event()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask() -> None:
        while not over.wait(0.1):
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", lab.haproxy.tls_port), timeout=10) as raw,
                context.wrap_socket(raw) as client,
            ):
                client.sendall(
                    b"GET /xmpp-websocket HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bGFiIGxhYiBsYWIgbGFiIQ==\r\n"
                    b"Sec-WebSocket-Protocol: xmpp\r\n\r\n"
                )
                client.recv(1000)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()
