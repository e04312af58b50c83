"""Wires the certificate exporter: command line, configuration, prober, /probe and the shared web server."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web as http

from exporters.certificates.client import CertificateClient
from exporters.certificates.collector import collect, collect_targets
from exporters.certificates.prober import Prober
from toolkit import cli, logs, web
from toolkit.documents import ConfigError
from toolkit.exposition import respond
from toolkit.scrape import FILES, Exporter, deadline
from toolkit.values import duration

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from exporters.certificates.snapshot import Snapshot

_log = logging.getLogger(__name__)
_MAX_CONCURRENCY = 1000


def _parser() -> ArgumentParser:
    parser = cli.parser("certificate-exporter", "Exports the days left of TLS certificates for Prometheus.", ":9873")
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        default=Path("certificates.yml"),
        metavar="FILE",
        help="the targets; read again on SIGHUP (default %(default)s)",
    )
    parser.add_argument(
        "--probe.interval",
        dest="interval",
        type=duration,
        default="60s",
        metavar="DURATION",
        help="how often each target is probed, e.g. 30s, 5m (default %(default)s)",
    )
    parser.add_argument(
        "--probe.concurrency",
        dest="concurrency",
        type=_concurrency,
        default=100,
        metavar="NUMBER",
        help="probes that run at the same time (default %(default)s)",
    )
    return parser


def _concurrency(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_CONCURRENCY):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to {_MAX_CONCURRENCY}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 1 if it cannot listen, 2 for wrong usage or configuration."""
    args = _parser().parse_args(argv)
    logs.setup(args.log_level, args.log_format)
    try:
        exporter = _exporter(args)
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    return web.run(exporter, args)


def _exporter(args: Namespace) -> Exporter[Snapshot]:
    prober = Prober(args.config_file, CertificateClient(), interval=args.interval, concurrency=args.concurrency)

    async def probe(request: http.Request) -> http.StreamResponse:
        name = request.query.get("target")
        if not name:
            return http.Response(status=400, text="Which one? Write /probe?target=NAME, a name of the configuration.\n")
        try:
            seconds = deadline(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds"))
            snapshot = await prober.probe(name, seconds)
        except KeyError:
            return http.Response(status=404, text="No target of this name in the configuration.\n")
        return await respond(request, collect_targets(snapshot))

    return Exporter(
        name="certificate",
        title="Certificate exporter",
        read=prober.read,
        collect=collect,
        reasons=(),
        up_help=None,
        background=prober.running,
        routes=(http.get("/probe", probe),),
        files=FILES + 2 * args.concurrency,  # a probe holds a connection and perhaps a file
        reload=prober.reload,
    )


if __name__ == "__main__":
    sys.exit(main())
