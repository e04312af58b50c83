"""The command line all exporters share, as Prometheus' own have it. A target's flags are added by its `__main__`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from toolkit import __version__
from toolkit.logs import FORMATS, LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_PORT = 65535
_HOUR = 3600


class Address(NamedTuple):
    """Where to listen: `host` is a name or an IP address, "" for every interface; `port` 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `:9871`, `127.0.0.1:9871`, `localhost:9871` or `[::1]:9871`; raises argparse.ArgumentTypeError."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not (
            colon and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT and (bracketed or ":" not in host)
        ):
            raise argparse.ArgumentTypeError(f"{text!r} is not an address; write :9871, 127.0.0.1:9871 or [::1]:9871")
        return cls(host[1:-1] if bracketed else host, int(port))


def seconds(text: str) -> float:
    """Read a number of seconds above 0 and up to an hour; raises argparse.ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= _HOUR:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to {_HOUR}")
    return number


def url(text: str, schemes: Sequence[str], example: str) -> str:
    """Read a URL of one of these schemes; raises argparse.ArgumentTypeError without any secret in it."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and parts.hostname and parts.port != 0 and not parts.query + parts.fragment
    except ValueError:  # a port above 65535, a bracket that is not closed
        valid = False
    if not valid or not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"is not a URL; write {example}")
    if "@" in parts.netloc:
        raise argparse.ArgumentTypeError("has credentials in it, which would be seen in logs")
    return text


class Parser(argparse.ArgumentParser):
    """A parser that answers wrong usage with one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Repeatable(argparse.Action):
    """Append, where argparse's own "append" would add to the default instead of replacing it."""

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
    """Make a parser with the common flags, to which a target's own are added.

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
