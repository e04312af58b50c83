"""Wires the synthetic-user exporter: command line, configuration, runner and the shared web server."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.synthetic.collector import collect
from exporters.synthetic.runner import Runner
from toolkit import cli, logs, web
from toolkit.documents import ConfigError
from toolkit.scrape import Exporter

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

_log = logging.getLogger(__name__)


def _parser() -> ArgumentParser:
    parser = cli.parser("synthetic-exporter", "Measures as a user what users get, for Prometheus.", ":9876")
    parser.add_argument(
        "--config.file",
        dest="config_file",
        type=Path,
        default=Path("synthetic.yml"),
        metavar="FILE",
        help="the door and the test users; read again on SIGHUP (default %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 1 if it cannot listen, 2 for wrong usage or configuration."""
    args = _parser().parse_args(argv)
    logs.setup(args.log_level, args.log_format)
    try:
        runner = Runner(args.config_file)
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    exporter = Exporter(
        name="synthetic",
        title="Synthetic-user exporter",
        read=runner.read,
        collect=collect,
        reasons=(),
        up_help=None,
        background=runner.running,
        reload=runner.reload,
    )
    return web.run(exporter, args)


if __name__ == "__main__":
    sys.exit(main())
