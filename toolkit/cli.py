"""The command line that all exporters share, with Prometheus' flag names. Each `__main__` adds its target's flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from toolkit import __version__
from toolkit.logs import FORMATS, LEVELS
from toolkit.values import Address

if TYPE_CHECKING:
    from collections.abc import Sequence


class Parser(argparse.ArgumentParser):
    """A parser that answers wrong usage with one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Repeatable(argparse.Action):
    """An "append" whose first value replaces the default; argparse's own adds to the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 - as above
    ) -> None:
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [values] if given is self.default else [*given, values])


def parser(prog: str, description: str, default_listen: str) -> argparse.ArgumentParser:
    """Make a parser with the common flags; the caller adds the target's flags.

    Args:
        prog: the program's name, e.g. "prosody-exporter".
        description: one sentence for --help.
        default_listen: e.g. ":9871".

    The result parses to `listen_addresses` (list of Address), `web_config` (Path or None), `log_level`, `log_format`.
    Wrong usage ends the program with exit code 2 and one line on standard error.
    """
    made = Parser(prog, description=description, allow_abbrev=False)
    made.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        action=_Repeatable,
        type=Address.parse,
        default=[Address.parse(default_listen)],
        metavar="ADDRESS",
        help=f"where to listen, e.g. :9871, 127.0.0.1:9871, [::1]:9871; may be repeated (default {default_listen})",
    )
    made.add_argument(
        "--web.config.file",
        dest="web_config",
        type=Path,
        metavar="FILE",
        help="TLS and basic authentication, in the Prometheus exporter-toolkit's format",
    )
    made.add_argument("--log.level", dest="log_level", choices=LEVELS, default="info", help="default info")
    made.add_argument("--log.format", dest="log_format", choices=FORMATS, default="logfmt", help="default logfmt")
    made.add_argument("--version", action="version", version=f"{prog}, version {__version__}")
    return made
