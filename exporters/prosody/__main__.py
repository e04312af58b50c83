"""Wires the Prosody exporter: command line, admin shell, WebSocket probe and the shared web server."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import sys
from argparse import ArgumentTypeError
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.prosody.client import REASONS, AdminShell
from exporters.prosody.collector import collect, missing_families
from exporters.prosody.probe import WebSocketProbe
from exporters.prosody.reader import SCRIPTS, Reader
from exporters.prosody.snapshot import Process
from toolkit import cli, logs, values, web
from toolkit.scrape import Exporter, TargetError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import AsyncIterator, Sequence

    from exporters.prosody.snapshot import Snapshot

_log = logging.getLogger(__name__)


def _websocket_url(text: str) -> str:
    example = "http://127.0.0.1:5280/xmpp-websocket, or '' for no probe"
    return text and values.url(text, ("http", "https", "ws", "wss"), example)


def _host_name(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text):
        raise ArgumentTypeError(f"{text!r} is not a host name; write for example chat.example.com")
    return text


def _authority(text: str) -> Path:
    try:
        ssl.create_default_context(cafile=text)
    except OSError as error:
        raise ArgumentTypeError(f"{text} holds no certificate authority in PEM ({error.strerror or error})") from None
    return Path(text)


def _parser() -> ArgumentParser:
    parser = cli.parser("prosody-exporter", "Exports the metrics of one Prosody 13 for Prometheus.", ":9871")
    parser.add_argument(
        "--prosody.socket",
        dest="socket",
        type=Path,
        default=Path("/var/lib/prosody/prosody.sock"),
        metavar="PATH",
        help="Prosody's admin socket (its option admin_socket); default %(default)s",
    )
    parser.add_argument(
        "--prosody.timeout",
        dest="timeout",
        type=values.seconds,
        default=9.0,
        metavar="SECONDS",
        help="longest time for one answer of the admin socket; default %(default)s",
    )
    parser.add_argument(
        "--prosody.instrument",
        dest="instrument",
        choices=("on", "off"),
        default="on",
        help="keep the counting script installed in Prosody; off reads only what Prosody has by itself (default on)",
    )
    parser.add_argument(
        "--prosody.websocket-url",
        dest="websocket_url",
        type=_websocket_url,
        default="http://127.0.0.1:5280/xmpp-websocket",
        metavar="URL",
        help="WebSocket endpoint to ping; '' pings none (default %(default)s)",
    )
    parser.add_argument(
        "--prosody.websocket-host",
        dest="websocket_host",
        type=_host_name,
        default="",
        metavar="NAME",
        help="host name to ask the endpoint for, in HTTP and TLS, where mod_websocket serves one virtual host only or "
        "the endpoint is https; default: the URL's",
    )
    parser.add_argument(
        "--prosody.websocket-ca",
        dest="websocket_authority",
        type=_authority,
        metavar="FILE",
        help="certificate authority to trust for an https endpoint (PEM); default: the system's",
    )
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--uninstall", action="store_true", help="remove the counting script from Prosody, and end")
    actions.add_argument("--print-script", action="store_true", help="print what would be sent to Prosody, and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 1 if it cannot do its work, 2 for wrong usage, 130 for Ctrl-C."""
    args = _parser().parse_args(argv)
    if args.print_script:
        return _print_script()
    if args.uninstall:
        logs.setup(args.log_level, args.log_format)
        try:
            return asyncio.run(_uninstall(args))
        except KeyboardInterrupt:
            return 130
    return web.run(_exporter(args), args)


def _print_script() -> int:
    # `>` makes it Lua to the shell
    try:
        sys.stdout.write("".join(f"==> {name}.lua <==\n>{text}\n" for name, text in sorted(SCRIPTS.items())))
        sys.stdout.flush()
    except OSError as error:  # a full disk, or `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain of it as well
        sys.stderr.write(f"prosody-exporter: cannot print all of it: {error.strerror}\n")
        return 1
    return 0


async def _uninstall(args: Namespace) -> int:
    shell = AdminShell(args.socket, timeout=args.timeout)
    try:
        await Reader(shell, instrument=True).uninstall()
    except TargetError as error:
        _log.error("cannot uninstall: %s", error)
        return 1
    finally:
        await shell.close()
    _log.info("the counting script is removed from Prosody")
    return 0


def _exporter(args: Namespace) -> Exporter[Snapshot]:
    shell = AdminShell(args.socket, timeout=args.timeout)
    reader = Reader(shell, instrument=args.instrument == "on")
    probe = (
        WebSocketProbe(args.websocket_url, host=args.websocket_host, authority=args.websocket_authority)
        if args.websocket_url
        else None
    )
    logs.setup(args.log_level, args.log_format)
    if missing := missing_families(instrument=args.instrument == "on", probe=probe is not None):
        _log.warning("these metrics will be missing, as their source is switched off: %s", ", ".join(missing))

    outside = Process()  # what the server's process uses, when the server itself did not answer

    async def read() -> Snapshot:
        nonlocal outside
        try:
            snapshot = await reader.read()
        except BaseException:  # also when the scrape's deadline cancels it
            outside = reader.inspect_from_outside()
            raise
        if probe:
            probe.look_at(snapshot.virtual_hosts)
            if c2s_timeout := snapshot.settings.get("c2s_timeout"):
                probe.c2s_timeout = c2s_timeout.value
        return snapshot

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        async with reader.keeping_installed(), probe.running() if probe else nullcontext():
            yield
        await shell.close()

    return Exporter(
        name="prosody",
        title="Prosody exporter",
        read=read,
        collect=lambda snapshot: collect(snapshot, probe.observations if probe else None, outside),
        reasons=REASONS,
        up_help="1 if Prosody answered this scrape over its admin socket.",
        background=background,
    )


if __name__ == "__main__":
    sys.exit(main())
