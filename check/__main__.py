"""The command commeazy-check: what an operator runs after installing, and whenever in doubt."""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from alerts.jobs import JOBS
from check import attestations, checklist_command, site
from check.attestations import AttestationError
from check.chosen import chosen
from check.client import CannotAskError, CredentialsError, HttpClient, authorization
from check.examination import examine
from check.formats import FORMATS
from check.grafana import GrafanaApi
from check.items import checklist
from check.logs import LogError
from check.prometheus import PrometheusApi
from check.textfile import TextfileError
from toolkit import __version__, cli, values
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

_DESCRIPTION = """Says in one line each whether every target is scraped, every dashboard provisioned, every rule loaded
and every metric there. Ends with 0 if all is well, 1 if a line says FAIL, 2 if Prometheus cannot be asked.
With --checklist, the 68 items of the specification's Section 20; ends with 1 if one is FAIL, STALE or UNKNOWN."""
_CREDENTIALS = "Credentials: user:password or a token, in a file or in the variables PROMETHEUS_AUTH and GRAFANA_AUTH."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name may have letters that the terminal has not; a page is UTF-8 wherever it goes.
        sys.stdout.reconfigure(encoding=None if options.format == "text" else "utf-8", errors="backslashreplace")
    try:
        if options.attest:
            return checklist_command.attest(options)
        if options.logs is not None:
            return checklist_command.personal_data(options.logs)
        if options.host_facts:
            return checklist_command.host_facts(options.textfile)
        prometheus = PrometheusApi(_client(options, "prometheus"))
        grafana = GrafanaApi(_client(options, "grafana")) if options.grafana else None
        its_own = chosen(options.thresholds, options.objectives, options.without)
        if options.checklist:
            return checklist_command.show(options, prometheus, grafana, its_own)
        found = examine(prometheus, grafana, its_own)
    except (CannotAskError, CredentialsError, ConfigError, AttestationError, LogError, TextfileError) as error:
        print(f"commeazy-check: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 2
    for verdict in found:
        print(verdict)  # noqa: T201 - as above
    return 1 if any(verdict.failed for verdict in found) else 0


def _parser() -> ArgumentParser:
    parser = cli.Parser("commeazy-check", description=_DESCRIPTION, epilog=_CREDENTIALS, allow_abbrev=False)
    add = parser.add_argument
    add("--prometheus", type=_url, default="http://localhost:9090", metavar="URL", help="(default %(default)s)")
    add("--prometheus-auth", type=Path, metavar="FILE", help="credentials for Prometheus, if it needs some")
    add("--grafana", type=_url, metavar="URL", help="check the dashboards, too")
    add("--grafana-auth", type=Path, metavar="FILE", help="user:password for Grafana, or a service account's token")
    add("--thresholds", type=Path, metavar="FILE", help="the thresholds that generate-rules was given")
    add("--objectives", type=Path, metavar="FILE", help="the promises that generate-rules was given")
    add("--without", action="append", choices=sorted(JOBS), default=[], metavar="JOB", help="as for generate-rules")
    add("--timeout", type=values.seconds, default=10.0, metavar="SECONDS", help="for one answer (default %(default)g)")
    also = parser.add_argument_group("the checklist of Section 20 (docs/checklist.md)").add_argument
    also("--checklist", action="store_true", help="judge the 68 items of the production checklist")
    also("--section", type=_sections, metavar="A,B", help="only these sections")
    also("--format", choices=list(FORMATS), default="text", help="(default %(default)s)")
    also("--site", type=Path, default=site.DEFAULT, metavar="FILE", help="your names and ports (default %(default)s)")
    also("--textfile", type=Path, metavar="FILE", help="write metrics for node_exporter, too")
    also("--attest", metavar="ID", help="record that a person saw that an item is true")
    also("--by", default="", metavar="NAME", help="who saw it")
    also("--note", default="", help="what was seen")
    also("--attestations", type=Path, default=attestations.DEFAULT, metavar="FILE", help="(default %(default)s)")
    also(
        "--logs", nargs="*", metavar="LOG", help="count personal data in files or journal:UNIT; default: all logs here"
    )
    also("--host-facts", action="store_true", help="look at this host's units, keys and logs, for its node_exporter")
    add("--version", action="version", version=f"commeazy-check, version {__version__}")
    return parser


def _parse(arguments: Sequence[str] | None) -> Namespace:
    """Parse the command line, and refuse flags that mean nothing together."""
    parser = _parser()
    options = parser.parse_args(arguments)
    chosen = [
        *(["--checklist"] if options.checklist else []),
        *(["--attest"] if options.attest else []),
        *(["--logs"] if options.logs is not None else []),
        *(["--host-facts"] if options.host_facts else []),
    ]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)}: give one of them")
    for flag, value, belongs in (
        ("--section", options.section, ("--checklist",)),
        ("--format", options.format != "text", ("--checklist",)),
        ("--textfile", options.textfile, ("--checklist", "--host-facts")),
        ("--by", options.by, ("--attest",)),
        ("--note", options.note, ("--attest",)),
    ):
        if value and not set(chosen) & set(belongs):
            parser.error(f"{flag} goes with {' or '.join(belongs)}")
    if options.textfile and options.section:
        parser.error("--textfile needs all sections; leave --section out")
    return options


def _sections(text: str) -> str:
    letters = text.replace(",", "").upper()
    if not letters or not set(letters) <= set(checklist().sections):
        raise ArgumentTypeError(f"{text!r} are no sections; write letters of A to J, such as A,B")
    return letters


def _url(text: str) -> str:
    return values.url(text, ("http", "https"), "http://localhost:9090")


def _client(options: Namespace, server: str) -> HttpClient:
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
    return HttpClient(getattr(options, server), credentials, options.timeout)


if __name__ == "__main__":
    sys.exit(main())
