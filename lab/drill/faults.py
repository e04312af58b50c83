"""Ways to really break the lab, as context managers: entering breaks it, leaving repairs it. It names no alert.

An exception inside a fault skips the repair: the whole lab ends then.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lab.running.workspace import LabError
from lab.servers.generator import Generator
from lab.servers.prosody import DOMAIN
from lab.users.accounts import ask
from xmpp.client import XmppClient
from xmpp.websocket import http_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiohttp import ClientSession

    from lab.running.server import Server
    from lab.servers.prosody import Prosody
    from lab.stack import Lab, Node

_PATIENCE = 300.0
# Options that a module reads only when it is loaded.
_READ_BY = {
    "smacks_hibernation_time": "smacks",
    "smacks_max_ack_delay": "smacks",
    "c2s_require_encryption": "saslauth",
    "push_notification_with_body": "cloud_notify",
}
_FEWER = 80  # sessions of the first Prosody while there is no crowd

# Any server ------------------------------------------------------------------------------------------------------


@contextmanager
def killed(*servers: Server) -> Iterator[None]:
    """A power cut, and power again."""
    for server in servers:
        server.kill()
    yield
    for server in servers:
        server.start()


@contextmanager
def frozen(*servers: Server) -> Iterator[None]:
    """They hang: their sockets stay and nothing is answered."""
    for server in servers:
        server.freeze()
    yield
    for server in servers:
        server.thaw()


# Prosody ---------------------------------------------------------------------------------------------------------


@contextmanager
def crowd(prosody: Prosody, users: int, rate: float = 5.0, within: float = 2.0) -> Iterator[None]:
    """So many more users, who come within so many seconds and do `rate` things a second between them."""
    generator = Generator([prosody], users, name="crowd")
    generator.rate, generator.within = rate, within
    generator.start()
    yield
    generator.stop()


@contextmanager
def growing_crowd(lab: Lab, users: int, seconds: float) -> Iterator[None]:
    """So many more users on the first Prosody, evenly within so many seconds; for two minutes there were fewer.

    Two minutes are two windows of the forecast here: it compares the last with the one before.
    """
    sessions = f'prosody_c2s_sessions{{instance="{lab.prosody.name}"}}'
    deadline = time.monotonic() + _PATIENCE
    while not lab.prometheus.query(f"max(max_over_time({sessions}[2m])) < {_FEWER} and on () {sessions} offset 2m"):
        if time.monotonic() > deadline:
            raise LabError(f"{lab.prosody.name} has not had fewer than {_FEWER} sessions for two minutes")
        time.sleep(1)
    with crowd(lab.prosody, users, within=seconds):
        yield


@contextmanager
def configured(node: Node, lines: str) -> Iterator[None]:
    """Somebody changed Prosody's configuration, and reloaded it and the modules that read these options."""
    modules = {module for option, module in _READ_BY.items() if option in lines}
    _reconfigure(node, lines, modules)
    yield
    _reconfigure(node, "", modules)


def _reconfigure(node: Node, lines: str, modules: Iterable[str]) -> None:
    node.configure(lines)
    node.prosody.prepare()
    _shell(node.prosody, "config:reload()")
    for module in modules:
        _shell(node.prosody, f"module:reload('{module}', '{DOMAIN}')")


@contextmanager
def loaded(prosody: Prosody, module: str) -> Iterator[None]:
    """Somebody loaded a module."""
    _shell(prosody, f"module:load('{module}', '{DOMAIN}')")
    yield
    _shell(prosody, f"module:unload('{module}', '{DOMAIN}')")


_BLOCKED = "a drill blocks the event loop"


@contextmanager
def blocked(prosody: Prosody, seconds: float) -> Iterator[None]:
    """A module of Prosody works for so long in every turn of the event loop."""
    _shell(
        prosody,
        "> local timer, now = require 'prosody.util.timer', require 'prosody.util.time'.monotonic "
        f"local block = {{}} package.loaded['{_BLOCKED}'] = block "
        "timer.add_task(0, function () if block.over then return nil end "
        f"local free = now() + {seconds} while now() < free do end return 0 end) return true, 'blocked'",
    )
    yield
    _shell(prosody, f"> package.loaded['{_BLOCKED}'].over = true return true, 'free'")


@contextmanager
def all_blocked(lab: Lab) -> Iterator[None]:
    """Every Prosody works for a fifth of a second in every turn of its event loop."""
    with ExitStack() as nodes:
        for node in lab.nodes:
            nodes.enter_context(blocked(node.prosody, 0.2))
        yield


@contextmanager
def restarted_with(node: Node, lines: str) -> Iterator[None]:
    """Somebody changed Prosody's configuration and restarted it."""
    node.configure(lines)
    node.prosody.restart()
    yield
    node.configure("")
    node.prosody.restart()


@contextmanager
def older(prosody: Prosody) -> Iterator[None]:
    """Somebody installed Debian's Prosody on the node again."""
    prosody.binary = shutil.which("prosody")
    prosody.restart()
    yield
    prosody.binary = None
    prosody.restart()


@contextmanager
def unloaded(prosody: Prosody, module: str) -> Iterator[None]:
    """Somebody unloaded a module, or never loaded it."""
    _shell(prosody, f"module:unload('{module}', '{DOMAIN}')")
    yield
    _shell(prosody, f"module:load('{module}', '{DOMAIN}')")


@contextmanager
def ballast(prosody: Prosody, megabytes: int) -> Iterator[None]:
    """Something in Prosody holds memory and does not let go."""
    _shell(prosody, f"> rawset(_G, 'ballast', string.rep('x', {megabytes} * 1000000)) return true, 'held'")
    yield
    _shell(prosody, "> rawset(_G, 'ballast', nil) collectgarbage() return true, 'let go'")


def _shell(prosody: Prosody, command: str) -> None:
    asyncio.run(ask(prosody.admin_socket, command))


# Test users ------------------------------------------------------------------------------------------------------


@contextmanager
def starved(server: Server) -> Iterator[None]:
    """It gets a fifth of the time it needs."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.wait(0.6):
            server.freeze()
            over.wait(2.4)
            server.thaw()

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def thief(lab: Lab) -> Iterator[None]:
    """Somebody has the password of a test user, and uses it."""
    account = "synthetic-sender"
    with asyncio.Runner() as loop:
        http = loop.run(_session())
        client = XmppClient(
            lab.prosody.endpoints(), account, lab.synthetic.passwords[account], http=http, resource="thief"
        )
        loop.run(client.login())
        yield
        loop.run(client.disconnect())
        loop.run(http.close())


async def _session() -> ClientSession:
    return http_session()
