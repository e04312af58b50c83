"""Judges a chain of certificates: trust, dates, host names, strength. OpenSSL builds the path; nothing is fetched."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from stat import S_ISREG
from typing import TYPE_CHECKING

from OpenSSL import crypto

from exporters.certificates.certificate import parse_file
from exporters.certificates.openssl import verify_for_servers
from toolkit.files import opened
from toolkit.scrape import TargetError
from toolkit.values import is_ip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from exporters.certificates.certificate import Certificate

_WRONG_PURPOSE = "wrong_purpose"
# X509_V_ERR_* of OpenSSL's x509_vfy.h; any other code is "invalid".
_VERIFY_CODES = {
    2: "unknown_issuer",
    9: "not_yet_valid",
    10: "expired",
    18: "self_signed",
    19: "unknown_issuer",
    20: "unknown_issuer",
    21: "unknown_issuer",
    26: _WRONG_PURPOSE,
    27: "unknown_issuer",
    28: _WRONG_PURPOSE,  # the CA file says that its certificate is not to be trusted for servers
}
WEAK_PROTOCOL = "weak_protocol"
REASONS = (
    "ok",
    "expired",
    "not_yet_valid",
    "self_signed",
    "unknown_issuer",
    "invalid",
    _WRONG_PURPOSE,
    "wrong_host",
    "weak_key",
    "weak_signature",
    WEAK_PROTOCOL,
)
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_MAX_CA_BYTES, _MAX_CA_CERTIFICATES = 4 << 20, 2000  # certificates that are checked to explain an error
_RSA_BITS = 2048  # the minimum of NIST SP 800-57, the CA/Browser Forum and OpenSSL's security level 2


@dataclass(frozen=True, slots=True)
class Trust:
    """The result of judging a chain.

    Args:
        reasons: of REASONS, without "ok"; empty if nothing is wrong.
        path: the certificates between leaf and trust anchor, the leaf first; the whole chain if OpenSSL found no valid
            path. A certificate outside the path (such as an old cross-signature that a server still sends) may expire
            without any client noticing.
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
        if stat and not S_ISREG(stat.st_mode):
            raise _bad_ca(ca, "not a regular file")  # OpenSSL would wait for a FIFO's writer
        mark = stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        loaded = self._stores.get(ca)
        if loaded is None or loaded[0] != mark:
            self._stores[ca] = loaded = (mark, _load(ca))
        return loaded[1]


def judge(
    chain: Sequence[Certificate],
    store: crypto.X509Store,
    host_names: Sequence[str],
    matches: Callable[[Certificate, str], bool] | None = None,
) -> Trust:
    """Judge a chain from a server or a file, the leaf first.

    Args:
        chain: at least the leaf.
        store: the trusted certificates.
        host_names: names and IP addresses the leaf must be valid for. Without any, as for a CA's own file, the leaf is
            not judged as a server's certificate.
        matches: whether a certificate is valid for a name; `is_for_host` unless given.
    """
    matches = matches or is_for_host
    found, path = _path(chain, store, for_servers=bool(host_names))
    leaf = chain[0]
    checks = (
        ("wrong_host", not all(matches(leaf, name) for name in host_names)),
        ("weak_key", any(certificate.rsa_bits and certificate.rsa_bits < _RSA_BITS for certificate in path)),
        # Nobody checks the signature of a root on itself.
        ("weak_signature", any(certificate.weakly_signed and not certificate.self_issued for certificate in path)),
    )
    return Trust((*found, *(reason for reason, holds in checks if holds)), path)


def is_for_host(leaf: Certificate, host_name: str) -> bool:
    """Tell whether a certificate is valid for a host name or an IP address (RFC 9525: its alternative names only).

    A wildcard stands for exactly the whole leftmost label, as in `*.commeazy.com`, and at least two others follow.
    """
    if is_ip(host_name):
        return str(ip_address(host_name)) in leaf.ip_addresses
    name = host_name.lower().rstrip(".")
    parent = name.partition(".")[2]
    return name in leaf.dns_names or ("." in parent and f"*.{parent}" in leaf.dns_names)


def is_for_libpq(leaf: Certificate, host_name: str) -> bool:
    """Tell whether libpq with sslmode=verify-full accepts a certificate (PostgreSQL 15, fe-secure-openssl.c).

    The common name counts if there is no alternative name of the host's kind; a wildcard may have one label behind it.
    """
    address = is_ip(host_name)
    if address and str(ip_address(host_name)) in leaf.ip_addresses:
        return True
    names = leaf.dns_names
    if not (leaf.ip_addresses if address else leaf.dns_names):
        names = (*names, leaf.common_name.lower())
    name = host_name.lower()
    parent = name.partition(".")[2]
    return name in names or (bool(parent) and not address and f"*.{parent}" in names)


def _path(
    chain: Sequence[Certificate], store: crypto.X509Store, *, for_servers: bool
) -> tuple[tuple[str, ...], tuple[Certificate, ...]]:
    """Let OpenSSL look for a path; returns what is wrong, and the certificates that count."""
    reason, verified = _verified(chain, store, for_servers=for_servers)
    if not reason:
        return (), tuple(certificate for certificate in chain if certificate.der in verified)
    # OpenSSL reports only its first error, so the purpose and everything else are checked separately.
    other, verified = _verified(chain, store, for_servers=False) if reason == _WRONG_PURPOSE else (reason, set())
    if for_servers and reason != _WRONG_PURPOSE:
        alone = crypto.X509Store()
        alone.set_flags(_NO_CHECK_TIME | crypto.X509StoreFlags.PARTIAL_CHAIN)
        with suppress(crypto.Error):
            alone.add_cert(_loaded(chain[0]))
        reason, _ = _verified(chain[:1], alone, for_servers=True)
    found = tuple(dict.fromkeys((other, *([_WRONG_PURPOSE] if reason == _WRONG_PURPOSE else []))))
    path = tuple(certificate for certificate in chain if certificate.der in verified) or tuple(chain)
    return tuple(filter(None, found)), path


def _verified(chain: Sequence[Certificate], store: crypto.X509Store, *, for_servers: bool) -> tuple[str, set[bytes]]:
    """Return OpenSSL's first error, "" for none, and the encodings of the path it found."""
    try:
        leaf, *others = map(_loaded, chain)
        verify_for_servers(store, wanted=for_servers)
        verified = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        return _VERIFY_CODES.get(error.errors[0], "invalid"), set()
    except crypto.Error:
        return "invalid", set()
    return "", {crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in verified}


def _loaded(certificate: Certificate) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der)


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
        raise _bad_ca(ca, _why_not(ca)) from None
    return store


def _why_not(ca: Path | None) -> str:
    """Return what is wrong with a CA file that OpenSSL refuses."""
    if ca is None:
        return "OpenSSL cannot read the system's certificates"
    with opened(ca) as file:
        data = file.read(_MAX_CA_BYTES)
    try:
        contents = parse_file(data, at_most=_MAX_CA_CERTIFICATES)
    except TargetError as error:
        return str(error)
    if contents.unreadable:
        return f"{contents.unreadable} of its certificates cannot be read, and OpenSSL then trusts none of them"
    return "its certificates are not in PEM; convert them with openssl x509 -inform der"


def _bad_ca(ca: Path | None, cause: str | None) -> TargetError:
    return TargetError("bad_ca", f"cannot read the CA file {ca}: {cause}; check `ca` and the file's permissions")
