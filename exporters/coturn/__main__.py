"""Wires the coturn exporter: command line, configuration, the reader with its sources, and the shared web server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.coturn.collector import collect
from exporters.coturn.config import ConfigError, Configuration, load
from exporters.coturn.reader import REASONS, Reader
from toolkit import cli, logs, values, web
from toolkit.background import running
from toolkit.scrape import Exporter

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from exporters.coturn.snapshot import Snapshot

_log = logging.getLogger("exporters.coturn")


def _parser() -> ArgumentParser:
    parser = cli.parser("coturn-exporter", "Exports the metrics of one coturn for Prometheus.", ":9872")
    parser.add_argument(
        "--coturn.config",
        dest="config",
        type=Path,
        default=Path("/etc/turnserver.conf"),
        metavar="FILE",
        help="coturn's configuration; read again on SIGHUP (default %(default)s)",
    )
    parser.add_argument(
        "--coturn.cli-password-file",
        dest="password_file",
        type=Path,
        metavar="FILE",
        help="the password of coturn's CLI in clear, if cli-password in its configuration is a hash",
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


def _load(args: Namespace) -> Configuration:
    config = load(args.config)
    if args.password_file:
        try:
            password = args.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"cannot read {args.password_file}: {error.strerror}; set --coturn.cli-password-file"
            ) from error
        except UnicodeDecodeError:
            raise ConfigError(f"{args.password_file} is not text; set --coturn.cli-password-file") from None
        config = dataclasses.replace(config, options={**config.options, "cli-password": (password,)})
    if config.cli and not config.cli.password:
        _log.warning("cli-password is a hash; without --coturn.cli-password-file the CLI is not asked")
    for option in sorted(set(config.commented)):
        _log.warning(
            "%s: coturn takes the comment behind a value of %s as part of the value; put it on its own line",
            config.path, option,
        )  # fmt: skip
    return config


class _Coturn:
    """The reader of the configuration as it is now."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._replaced = asyncio.Event()
        self.reader = self._next = Reader(_load(args), args.probe_interval)

    def reload(self) -> None:
        """Read the configuration again; raises ConfigError, and the reader goes on with the old one then."""
        self._next = Reader(_load(self._args), self._args.probe_interval)
        self._replaced.set()

    async def run(self) -> None:
        """Keep the reader running, and replace it after a reload."""
        while True:
            async with self.reader.running():
                await self._replaced.wait()
            self._replaced.clear()
            self.reader = self._next


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 1 if it cannot listen, 2 for wrong usage or configuration."""
    args = _parser().parse_args(argv)
    logs.setup(args.log_level, args.log_format)
    try:
        coturn = _Coturn(args)
    except ConfigError as error:
        print(f"coturn-exporter: {error}", file=sys.stderr)  # noqa: T201 - as for wrong usage
        return 2
    return web.run(_exporter(coturn), args)


def _exporter(coturn: _Coturn) -> Exporter[Snapshot]:
    return Exporter(
        name="coturn",
        title="coturn exporter",
        read=lambda: coturn.reader.read(),  # noqa: PLW0108 - the reader changes on SIGHUP
        collect=lambda snapshot: collect(snapshot or coturn.reader.without_target()),
        reasons=REASONS,
        up_help="1 if coturn answered the exporter's last STUN or TURN probe, and its process is not stopped.",
        background=lambda: running(coturn.run),
        reload=coturn.reload,
    )


if __name__ == "__main__":
    sys.exit(main())
