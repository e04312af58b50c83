"""Judges a chain of certificates: trust, dates, host names, strength. OpenSSL builds the path; nothing is fetched."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from OpenSSL import crypto

from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporters.certificates.certificate import Certificate

# X509_V_ERR_* of OpenSSL's x509_vfy.h; what is not listed is "invalid".
_VERIFY_CODES = {
    2: "unknown_issuer",
    9: "not_yet_valid",
    10: "expired",
    18: "self_signed",
    19: "unknown_issuer",
    20: "unknown_issuer",
    21: "unknown_issuer",
    27: "unknown_issuer",
}
WEAK_PROTOCOL = "weak_protocol"
REASONS = (
    "ok",
    "expired",
    "not_yet_valid",
    "self_signed",
    "unknown_issuer",
    "invalid",
    "wrong_purpose",
    "wrong_host",
    "weak_key",
    "weak_signature",
    WEAK_PROTOCOL,
)
_RSA_BITS = 2048  # what NIST SP 800-57, the CA/Browser Forum and OpenSSL's security level 2 ask at least


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a chain.

    Args:
        reasons: of REASONS, without "ok"; empty if nothing is wrong.
        path: the certificates that stand between leaf and trust anchor, the leaf first; the whole chain if OpenSSL
            found no valid path. A certificate outside of it (an old cross-signature a server still sends along) may
            expire without a client noticing.
    """

    reasons: tuple[str, ...]
    path: tuple[Certificate, ...]


class Authorities:
    """The trusted certificates of the system or of a file, loaded again when the file changes."""

    def __init__(self) -> None:
        self._stores: dict[Path | None, tuple[object, crypto.X509Store]] = {}

    def store(self, ca: Path | None) -> crypto.X509Store:
        """Return the store of a CA file, None for the system's; raises TargetError("bad_ca")."""
        try:
            stat = ca.stat() if ca else None
        except OSError as error:
            raise _bad_ca(ca, error.strerror) from None
        mark = stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        loaded = self._stores.get(ca)
        if loaded is None or loaded[0] != mark:
            self._stores[ca] = loaded = (mark, _load(ca))
        return loaded[1]


def judge(chain: Sequence[Certificate], store: crypto.X509Store, host_names: Sequence[str]) -> Verdict:
    """Judge a chain as it is served or filed, the leaf first.

    Args:
        chain: at least the leaf.
        store: the trusted certificates.
        host_names: names and IP addresses the leaf must be valid for; none are needed for a CA's own file.
    """
    found, path = _path(chain, store)
    leaf = chain[0]
    checks = (
        ("wrong_purpose", bool(host_names) and not leaf.for_servers),
        ("wrong_host", not all(is_for_host(leaf, name) for name in host_names)),
        ("weak_key", any(certificate.rsa_bits and certificate.rsa_bits < _RSA_BITS for certificate in path)),
        # Nobody checks the signature of a root on itself.
        ("weak_signature", any(certificate.sha1_signed and not certificate.self_issued for certificate in path)),
    )
    return Verdict((*found, *(reason for reason, holds in checks if holds)), path)


def is_for_host(leaf: Certificate, host_name: str) -> bool:
    """Tell whether a certificate is valid for a host name or an IP address (RFC 9525: its alternative names only).

    A wildcard stands for exactly the whole leftmost label, as in `*.commeazy.com`.
    """
    try:
        return str(ip_address(host_name)) in leaf.ip_addresses
    except ValueError:
        name = host_name.lower().rstrip(".")
    parent = name.partition(".")[2]
    return name in leaf.dns_names or f"*.{parent}" in leaf.dns_names


def _path(chain: Sequence[Certificate], store: crypto.X509Store) -> tuple[tuple[str, ...], tuple[Certificate, ...]]:
    try:
        leaf, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der) for certificate in chain)
        verified = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        code = error.errors[0]
        return (_VERIFY_CODES.get(code, "invalid"),), tuple(chain)
    except crypto.Error:
        return ("invalid",), tuple(chain)
    used = {crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in verified}
    return (), tuple(certificate for certificate in chain if certificate.der in used)


def _load(ca: Path | None) -> crypto.X509Store:
    # Not through an SSL.Context: it owns its store, which dies with it.
    store = crypto.X509Store()
    system = ssl.get_default_verify_paths()
    try:
        if ca:
            store.load_locations(str(ca))
        else:
            store.load_locations(system.cafile, system.capath)
    except crypto.Error:
        raise _bad_ca(ca, "it holds no PEM certificate") from None
    return store


def _bad_ca(ca: Path | None, cause: str | None) -> TargetError:
    return TargetError("bad_ca", f"cannot read the CA file {ca}: {cause}; check `ca` and the file's permissions")
