"""The command commeazy-check: what an operator runs after installing, and whenever in doubt."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alerts.catalogue import KNOBS
from alerts.jobs import JOBS
from alerts.thresholds import load
from check.client import CannotAskError, Client, CredentialsError, authorization
from check.examination import examine
from check.grafana import Grafana
from check.prometheus import Prometheus
from toolkit import __version__, cli, values
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

_DESCRIPTION = """Says in one line each whether every target is scraped, every dashboard provisioned, every rule loaded
and every metric there. Ends with 0 if all is well, 1 if a line says FAIL, 2 if Prometheus cannot be asked."""
_CREDENTIALS = "Credentials: user:password or a token, in a file or in the variables PROMETHEUS_AUTH and GRAFANA_AUTH."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        prometheus = Prometheus(_client(options, "prometheus"))
        grafana = Grafana(_client(options, "grafana")) if options.grafana else None
        thresholds = load(KNOBS, options.thresholds) if options.thresholds else None
        found = examine(prometheus, grafana, thresholds, options.without)
    except (CannotAskError, CredentialsError, ConfigError) as error:
        print(f"commeazy-check: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    for verdict in found:
        print(verdict)  # noqa: T201 - as above
    return 1 if any(verdict.failed for verdict in found) else 0


def _parser() -> ArgumentParser:
    parser = cli.Parser("commeazy-check", description=_DESCRIPTION, epilog=_CREDENTIALS, allow_abbrev=False)
    add = parser.add_argument
    add("--prometheus", type=_url, default="http://localhost:9090", metavar="URL", help="(default %(default)s)")
    add("--prometheus-auth", type=Path, metavar="FILE", help="credentials for Prometheus, where it wants some")
    add("--grafana", type=_url, metavar="URL", help="ask for the dashboards, too")
    add("--grafana-auth", type=Path, metavar="FILE", help="credentials for Grafana; a service account's token will do")
    add("--thresholds", type=Path, metavar="FILE", help="the thresholds that generate-rules was given")
    add("--without", action="append", choices=sorted(JOBS), default=[], metavar="JOB", help="as for generate-rules")
    add("--timeout", type=values.seconds, default=10.0, metavar="SECONDS", help="for one answer (default %(default)g)")
    add("--version", action="version", version=f"commeazy-check, version {__version__}")
    return parser


def _url(text: str) -> str:
    return values.url(text, ("http", "https"), "http://localhost:9090")


def _client(options: Namespace, server: str) -> Client:
    file: Path | None = getattr(options, f"{server}_auth")
    variable = f"{server.upper()}_AUTH"
    try:
        text = file.read_text(encoding="utf-8") if file else os.environ.get(variable, "")
        credentials = authorization(text)
    except OSError as error:
        raise CredentialsError(f"--{server}-auth {file}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, UnicodeEncodeError, CredentialsError) as error:
        wrong = error if isinstance(error, CredentialsError) else "is no text"
        raise CredentialsError(f"{f'--{server}-auth {file}' if file else variable}: {wrong}") from None
    return Client(getattr(options, server), credentials, options.timeout)


if __name__ == "__main__":
    sys.exit(main())
