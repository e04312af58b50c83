"""Wires the coturn exporter: command line, coturn's settings, the reader and its sources, and the web server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.coturn.collector import collect
from exporters.coturn.config import Configuration, CoturnConfigError, load
from exporters.coturn.process import Turnserver
from exporters.coturn.reader import REASONS, Reader
from toolkit import cli, logs, values, web
from toolkit.background import running
from toolkit.files import content
from toolkit.scrape import Exporter

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric

    from exporters.coturn.snapshot import Snapshot

_LOOK = 1.0  # seconds between two checks whether coturn was restarted with other arguments
_TAGS = 4  # of earlier probes, at most: one for each shared secret
_log = logging.getLogger("exporters.coturn")


def _parser() -> ArgumentParser:
    parser = cli.parser("coturn-exporter", "Exports the metrics of one coturn for Prometheus.", ":9872")
    parser.add_argument(
        "--coturn.config",
        dest="config",
        type=Path,
        default=Path("/etc/turnserver.conf"),
        metavar="FILE",
        help="coturn's configuration; read again on SIGHUP, and when coturn's arguments change (default %(default)s)",
    )
    parser.add_argument(
        "--coturn.cli-password-file",
        dest="password_file",
        type=Path,
        metavar="FILE",
        help="the password of coturn's CLI as plain text, if cli-password in its configuration is a hash",
    )
    parser.add_argument(
        "--coturn.probe-interval",
        dest="probe_interval",
        type=values.seconds,
        default=15.0,
        metavar="SECONDS",
        help="time between two probes as a client (default %(default)g)",
    )
    return parser


def _load(args: Namespace, turnserver: Turnserver) -> Configuration:
    identity = turnserver.identity
    config = load(args.config, turnserver.command, turnserver.folder if identity else None)
    if args.password_file:
        try:
            password = content(args.password_file).strip()
        except OSError as error:
            raise CoturnConfigError(
                f"cannot read {args.password_file}: {error.strerror}; set --coturn.cli-password-file"
            ) from error
        except UnicodeDecodeError:
            raise CoturnConfigError(f"{args.password_file} is not text; set --coturn.cli-password-file") from None
        config = dataclasses.replace(config, options={**config.options, "cli-password": (password,)})
    if config.cli and not config.cli.password:
        _log.warning("cli-password is a hash: the CLI is not used without --coturn.cli-password-file")
    if config.log_missing:
        _log.info("coturn's log is not followed: %s", config.log_missing)
    for comment in config.comments:
        _log.warning(
            "%s:%d: comment behind the value of %s: %s; put the comment on a line of its own",
            config.path, comment.line, comment.option, comment.effect,
        )  # fmt: skip
    return config


class _Coturn:
    """Owns the reader for coturn's present settings: those in its file and of its running process."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._turnserver = Turnserver(args.config)
        self._changed = asyncio.Event()
        self._identity: tuple[int, float] | None = None
        self._command: tuple[str, ...] = ()
        self._tags: list[str] = []
        self._use(_load(args, self._turnserver))

    async def read(self) -> Snapshot:
        """Take one snapshot. Raises TargetError."""
        self._follow_process()
        return await self.reader.read()

    def collect(self, snapshot: Snapshot | None) -> Iterable[Metric]:
        """Return every family that has samples."""
        return collect(snapshot or self.reader.known())

    def reload(self) -> None:
        """Search the process and read the settings again; raises ConfigError and then keeps the old settings."""
        self._turnserver.search_again()
        self._read_settings()

    async def run(self) -> None:
        """Keep the reader running, and replace it when the settings were read again."""
        while True:
            self._changed.clear()
            async with self.reader.running():
                await self._changed.wait()

    async def watch_process(self) -> None:
        """Watch for a coturn that was started with other arguments."""
        while True:
            await asyncio.sleep(_LOOK)
            self._follow_process()

    def _follow_process(self) -> None:
        """Read the settings again if a coturn with other arguments has started."""
        identity = self._turnserver.identity
        if identity is None or identity == self._identity:
            return
        self._identity = identity
        if self._turnserver.command != self._command:
            try:
                self._read_settings()
            except CoturnConfigError as error:
                _log.error("%s; the settings before it stay in use", error)
            else:
                _log.info("settings read again")

    def _read_settings(self) -> None:
        self._use(_load(self._args, self._turnserver))
        self._changed.set()

    def _use(self, config: Configuration) -> None:
        self._identity = self._turnserver.identity
        self._command = self._turnserver.command
        self.reader = Reader(config, self._turnserver, self._args.probe_interval, self._tags)
        if self.reader.tag not in self._tags:  # another shared secret
            self._tags = [*self._tags, self.reader.tag][-_TAGS:]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 1 if it cannot listen, 2 for wrong usage or configuration."""
    args = _parser().parse_args(argv)
    logs.setup(args.log_level, args.log_format)
    try:
        coturn = _Coturn(args)
    except CoturnConfigError as error:
        print(f"coturn-exporter: {error}", file=sys.stderr)  # noqa: T201 - as for wrong usage
        return 2
    return web.run(_exporter(coturn), args)


def _exporter(coturn: _Coturn) -> Exporter[Snapshot]:
    return Exporter(
        name="coturn",
        title="coturn exporter",
        read=coturn.read,
        collect=coturn.collect,
        reasons=REASONS,
        up_help="1 if coturn answered the exporter's last STUN or TURN probe, and its process is not stopped.",
        background=lambda: running(coturn.run, coturn.watch_process),
        reload=coturn.reload,
    )


if __name__ == "__main__":
    sys.exit(main())
