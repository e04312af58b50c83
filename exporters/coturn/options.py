"""The syntax of coturn's options, in turnserver.conf and on the command line. It does not know what an option does.

Source: coturn's `mainrelay.c` of 4.6.1 and 4.17.1 (the tables `long_options` and `OPTIONS`, `parse_arg_string`,
`get_bool_value`), tried on both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BLANKS = " \t\n\v\f\r"  # C's isspace
_OPTION = re.compile(r"([^ \t=]+)[ \t=]*(.*)", re.DOTALL)
_QUOTED = re.compile(r'"(.*?)[ \t\n\r]*"?', re.DOTALL)  # coturn removes the quotes, the second even if it is missing
_COMMENT = re.compile(r"(?:^|\s)#")
_NO = re.compile(r"[0nNfF].*|off|Off|OFF")
_YES = re.compile(r"(?:[1-9yYtT].*|on|On|ON)?")
_DIGITS = re.compile(r"\d{1,9}")


class OptionKind(Enum):
    """The ways in which coturn reads the value of an option."""

    SWITCH = "switch"  # off, on, and anything else ends coturn
    PRESENCE = "presence"  # on with any value
    NUMBER = "number"  # C's atoi: anything after the digits is ignored
    PORT = "port"  # atoi before coturn 4.13; since then coturn exits if anything follows the digits
    TEXT = "text"  # all of it


_WORDS = {
    OptionKind.SWITCH: """
        Verbose allow-loopback-peers check-origin-consistency cli daemon dh1066 dh566 drop-invalid-packets
        drop-invalid-packets-log dtls fingerprint include-reason-string keep-address-family log-binding lt-cred-mech
        mobility no-auth no-cli no-dtls no-multicast-peers no-software-attribute no-stdout-log no-stun
        no-stun-backward-compatibility no-tcp no-tcp-relay no-tls no-tlsv1 no-tlsv1_1 no-tlsv1_2 no-udp no-udp-relay
        oauth prod prometheus-tls raw-public-keys respond-http-unsupported response-origin-only-with-rfc5780
        rfc3489-compatibility rfc5766-channel-numbers secure-stun server-relay simple-log software-attribute
        stateless-nonce stun-backward-compatibility stun-only syslog tlsv1 tlsv1_1 udp-gso udp-recvmmsg
        udp-recvmmsg-log udp-self-balance udp-sendmmsg-log unauthorized-ratelimit verbose web-admin
        web-admin-listen-on-workers""",
    OptionKind.PRESENCE: """
        multiplex-peer new-log-timestamp no-auth-pings no-dynamic-ip-list no-dynamic-realms no-rfc5780 no-sslv2
        no-sslv3 prometheus prometheus-username-labels rfc5780 secret-ts-exp-time use-auth-secret version""",
    OptionKind.NUMBER: """
        bps-capacity channel-lifetime cli-max-output-sessions cpus drain-min-allocations max-allocate-lifetime
        max-allocate-timeout max-bps multiplex-peer-max-peers multiplex-peer-port ne permission-lifetime relay-threads
        sock-buf-size stale-nonce total-quota unauthorized-ratelimit-rps user-quota""",
    OptionKind.PORT: """
        alt-listening-port alt-tls-listening-port cli-port listening-port max-port min-port prometheus-port
        tcp-proxy-port tls-listening-port web-admin-port""",
    OptionKind.TEXT: """
        CA-file acme-redirect allocation-default-address-family allowed-peer-ip alternate-server aux-server cert
        cipher-list cli-ip cli-password db denied-peer-ip dh-file ec-curve-name external-ip listening-device
        listening-ip log-file log-min-level mongo-userdb mysql-userdb new-log-timestamp-format pidfile pkey pkey-pwd
        proc-group proc-user prometheus-address prometheus-cert prometheus-key prometheus-path psql-userdb realm
        redis-statsdb redis-userdb relay-device relay-ip rest-api-separator secret-key-file server-name sql-userdb
        stateless-nonce-secret static-auth-secret syslog-facility tcp-alternate-server tls-alternate-server
        udp-alternate-server user userdb web-admin-ip""",
}
KINDS = {name: kind for kind, words in _WORDS.items() for name in words.split()}
# On the command line these take a value only after an equals sign; other options also take the next word.
_OPTIONAL = {OptionKind.SWITCH, OptionKind.PRESENCE}
_OPTIONAL_NUMBERS = {"channel-lifetime", "max-allocate-lifetime", "permission-lifetime", "stale-nonce"}
_SHORT = {
    "A": "allocation-default-address-family",
    "B": "bps-capacity",
    "C": "rest-api-separator",
    "E": "relay-ip",
    "J": "mongo-userdb",
    "K": "keep-address-family",
    "L": "listening-ip",
    "M": "mysql-userdb",
    "N": "redis-userdb",
    "O": "redis-statsdb",
    "Q": "total-quota",
    "X": "external-ip",
    "b": "userdb",
    "c": "",  # the file itself
    "d": "listening-device",
    "e": "psql-userdb",
    "i": "relay-device",
    "l": "log-file",
    "m": "relay-threads",
    "p": "listening-port",
    "q": "user-quota",
    "r": "realm",
    "s": "max-bps",
    "u": "user",
}
_SHORT_WITHOUT_VALUE = {
    "S": "stun-only",
    "V": "Verbose",
    "a": "lt-cred-mech",
    "f": "fingerprint",
    "n": "",  # no file
    "o": "daemon",
    "v": "verbose",
    "z": "no-auth",
}
# coturn reads these twice: first from the command line, then from the file, and the file's value wins.
_FILE_WINS = {"log-file", "no-stdout-log", "syslog", "simple-log", "new-log-timestamp", "new-log-timestamp-format"}


@dataclass(frozen=True)
class Comment:
    """A comment after a value. coturn has no such comments and takes it as part of the value.

    Args:
        option: the option's name; the value may be a secret.
        line: number of its line in the file, from 1.
        effect: what coturn does with it.
    """

    option: str
    line: int
    effect: str


def is_on(name: str, value: str) -> bool:
    """Whether a switch with this value is on; without a value it is on."""
    return KINDS.get(name) is OptionKind.PRESENCE or not _NO.fullmatch(value)


def number(value: str, default: int) -> int:
    """The number that a value begins with, at most nine digits of it."""
    found = _DIGITS.match(value)
    return int(found[0]) if found else default


def in_file(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, name, value) of each option in a turnserver.conf."""
    for place, line in enumerate(text.split("\n"), 1):
        option = _OPTION.fullmatch(line.strip(_BLANKS))
        if option and not option[1].startswith("#"):
            name, value = option.groups()
            quoted = _QUOTED.fullmatch(value)
            yield place, name, quoted[1] if quoted else value


def on_command_line(words: Sequence[str]) -> list[tuple[str, str]]:
    """The options among the arguments of a turnserver, as (name, value); other words are left out."""
    found: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = _in_full(name)
            if (
                not equals
                and rest
                and KINDS.get(name, OptionKind.SWITCH) not in _OPTIONAL
                and name not in _OPTIONAL_NUMBERS
            ):
                value = rest.pop(0)
            found.append((name, value))
        elif word.startswith("-"):
            found += _letters(word[1:], rest)
    return [(name, value) for name, value in found if name in KINDS]


def config_file(words: Sequence[str]) -> str | None:
    """The file that a turnserver with these arguments reads, "" for its own default; None if it reads none (`-n`)."""
    given = ""
    for word, following in zip_longest(words, words[1:]):
        if word == "-c" and following is not None:
            given = following
        elif word == "-n":
            return None
    return given


def merged(from_file: Iterable[tuple[str, str]], from_command: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Every value of every option, in the order in which coturn reads them: the last one of a single value wins."""
    command = list(from_command)
    options: dict[str, tuple[str, ...]] = {}
    for name, value in (
        *(option for option in command if option[0] in _FILE_WINS),
        *from_file,
        *(option for option in command if option[0] not in _FILE_WINS),
    ):
        options[name] = (*options.get(name, ()), value)
    return options


def comment(name: str, value: str, line: int) -> Comment | None:
    """The comment in a value, if it changes what some version of coturn does; an upgrade may bring that version."""
    if not _COMMENT.search(value):
        return None
    kind = KINDS.get(name, OptionKind.PRESENCE)
    if kind is OptionKind.SWITCH and not (_NO.fullmatch(value) or _YES.fullmatch(value)):
        return Comment(name, line, "coturn does not start")
    if kind is OptionKind.PORT:
        return Comment(name, line, "coturn 4.13 and newer do not start")
    if name in {"denied-peer-ip", "allowed-peer-ip"}:
        return Comment(name, line, "coturn before 4.11 ignores the line, newer ones do not start")
    if kind is OptionKind.TEXT or (kind is OptionKind.NUMBER and not _DIGITS.match(value)):
        return Comment(name, line, "coturn takes the comment as part of the value")
    return None


def _in_full(name: str) -> str:
    """A long option's full name; getopt_long accepts an unambiguous beginning of it."""
    if name in KINDS:
        return name
    candidates = [known for known in KINDS if known.startswith(name)]
    return candidates[0] if len(candidates) == 1 else name


def _letters(letters: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    """Short options after one dash: switches, and last perhaps one with a value, in this word or the next."""
    for at, letter in enumerate(letters):
        if letter in _SHORT_WITHOUT_VALUE:
            yield _SHORT_WITHOUT_VALUE[letter], ""
        elif letter in _SHORT:
            yield _SHORT[letter], letters[at + 1 :] or (rest.pop(0) if rest else "")
            return
