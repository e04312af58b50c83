"""What the `openssl` command line says of a certificate, served or filed: the judge the exporter is compared with."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_STARTTLS = {
    "tls": [],
    "xmpp-client": ["-starttls", "xmpp"],
    "xmpp-server": ["-starttls", "xmpp-server"],
    "postgresql": ["-starttls", "postgres"],
}
# `openssl verify` and `s_client` give these for one fault, as the man page openssl-verification-options lists them.
REASONS = {
    0: "ok",
    9: "not_yet_valid",
    10: "expired",
    18: "self_signed",
    19: "unknown_issuer",
    20: "unknown_issuer",
    21: "unknown_issuer",
    62: "wrong_host",
    66: "weak_key",
    68: "weak_signature",
}

_OLD_SUITES = (
    "ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:"
    "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA:@SECLEVEL=0"
)
# What only a weak server accepts, as flags of s_client: versions before TLS 1.2; CBC and RSA key exchange, by name.
WEAK = {
    "tls_below_1_2": ("-no_tls1_3", "-no_tls1_2", "-cipher", "ALL:@SECLEVEL=0"),
    "weak_cipher": ("-tls1_2", "-cipher", _OLD_SUITES),
}


@dataclass(frozen=True)
class One:
    """One certificate: its serial number as printed, and its dates in seconds since 1970."""

    serial: str
    not_before: float
    not_after: float


@dataclass(frozen=True)
class Seen:
    """A chain as sent, and the verdict on it."""

    chain: tuple[One, ...]
    reason: str


def served(kind: str, port: int, name: str, ca: Path) -> Seen:
    """Ask a server on 127.0.0.1 as `openssl s_client` does; an empty chain if it gives none (yet)."""
    starttls = [*_STARTTLS[kind], *(["-xmpphost", name] if kind.startswith("xmpp") else [])]
    said = _run(
        *("s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-verify_hostname", name),
        *("-CAfile", str(ca), "-showcerts", *starttls),
    )
    codes = [int(code) for code in re.findall(r"Verify return code: (\d+)", said)]
    return Seen(_chain(said), REASONS[codes[0]] if codes else "none")


def accepts(kind: str, port: int, name: str, offer: tuple[str, ...]) -> bool:
    """Tell whether a server on 127.0.0.1 agrees on a cipher suite with a client that makes only this offer."""
    starttls = [*_STARTTLS[kind], *(["-xmpphost", name] if kind.startswith("xmpp") else [])]
    said = _run("s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, *offer, *starttls)
    return "Cipher is " in said and "Cipher is (NONE)" not in said


def filed(path: Path, name: str, ca: Path) -> Seen:
    """Read a PEM file as `openssl verify` does, its first certificate being the leaf."""
    said = _run(
        *("verify", "-CAfile", str(ca), "-untrusted", str(path), "-verify_hostname", name, "-auth_level", "2"),
        str(path),
    )
    codes = [int(code) for code in re.findall(r"error (\d+) at", said)]
    return Seen(_chain(path.read_text()), REASONS[codes[0]] if codes else "ok")


def _chain(text: str) -> tuple[One, ...]:
    return tuple(_one(pem) for pem in _PEM.findall(text))


def _one(pem: str) -> One:
    said = _run("x509", "-noout", "-serial", "-startdate", "-enddate", stdin=pem)
    fields = dict(line.split("=", 1) for line in said.splitlines())
    return One(fields["serial"], _time(fields["notBefore"]), _time(fields["notAfter"]))


def _time(text: str) -> float:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


def _run(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["openssl", *arguments], input=stdin, capture_output=True, text=True, timeout=20, check=False, errors="replace"
    )
    return done.stdout + done.stderr
