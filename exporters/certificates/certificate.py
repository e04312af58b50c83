"""What one X.509 certificate says, read once into plain values. It judges nothing and opens no file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from datetime import datetime

# The key of HAProxy's combined PEM stands between such blocks: it is neither parsed nor kept.
_PEM_BLOCK = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----(.*?)(?:-----END (?:X509 )?CERTIFICATE-----|\Z)", re.DOTALL
)
_PEM_BEGIN = b"-----BEGIN "
# What cryptography raises for a certificate that breaks the rules, when it is loaded or when a part is looked at.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate.

    Args:
        subject_cn: its common name; without one its first DNS name; as the issuer wrote it, so fit for no label yet.
        issuer_cn: its issuer's common name, or else organisation.
        serial: as `openssl x509 -serial` prints it.
        not_before: when it begins to hold, with time zone.
        not_after: when it ends, with time zone.
        dns_names: its names of type dNSName, lower case.
        ip_addresses: its names of type iPAddress, in their usual text form.
        self_issued: whether subject and issuer are the same, as in a root.
        rsa_bits: size of its RSA key; None for another kind of key.
        sha1_signed: whether its signature rests on SHA-1 or MD5.
        for_servers: whether it may be used by a TLS server (RFC 5280 4.2.1.12).
        der: its encoding, which is also its identity.
    """

    subject_cn: str
    issuer_cn: str
    serial: str
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    self_issued: bool
    rsa_bits: int | None
    sha1_signed: bool
    for_servers: bool
    der: bytes

    @classmethod
    def read(cls, certificate: x509.Certificate) -> Certificate:
        """Take over what is needed; raises TargetError("bad_certificate") for one that cannot be understood."""
        try:
            return cls._read(certificate)
        except UNREADABLE as error:
            raise TargetError("bad_certificate", f"a certificate cannot be understood ({_one_line(error)})") from None

    @classmethod
    def _read(cls, certificate: x509.Certificate) -> Certificate:
        dns_names, ip_addresses = _alternative_names(certificate)
        digits = f"{certificate.serial_number:X}"
        return cls(
            subject_cn=_first(certificate.subject, NameOID.COMMON_NAME) or next(iter(dns_names), ""),
            issuer_cn=_first(certificate.issuer, NameOID.COMMON_NAME)
            or _first(certificate.issuer, NameOID.ORGANIZATION_NAME),
            serial=digits if len(digits) % 2 == 0 else f"0{digits}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
            self_issued=certificate.subject == certificate.issuer,
            rsa_bits=_rsa_bits(certificate),
            sha1_signed=_weakly_signed(certificate),
            for_servers=_for_servers(certificate),
            der=certificate.public_bytes(serialization.Encoding.DER),
        )


def parse_file(data: bytes, *, at_most: int) -> tuple[Certificate, ...]:
    """Read every certificate of a file: PEM (keys and text around are skipped), DER, or PKCS#12 without a password.

    Args:
        data: the file's bytes.
        at_most: certificates.

    Raises:
        TargetError: "bad_file" (none of these formats, or cut off), "bad_certificate", "too_many_certificates".
    """
    try:
        found = _pem(data, at_most) if _PEM_BEGIN in data else _binary(data)
    except UNREADABLE as error:
        raise TargetError("bad_file", f"not a complete PEM, DER or passwordless PKCS#12 ({_one_line(error)})") from None
    if not found:
        raise TargetError("bad_file", "it holds no certificate")
    return tuple(Certificate.read(certificate) for certificate in found)


def _pem(data: bytes, at_most: int) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for block in _PEM_BLOCK.finditer(data):
        if len(found) == at_most:
            raise TargetError("too_many_certificates", f"it holds more than {at_most} certificates")
        found.append(x509.load_pem_x509_certificate(block[0]))
    return found


def _binary(data: bytes) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(data)]
    except ValueError:
        if not data.startswith(b"\x30"):
            raise
    bundle = pkcs12.load_pkcs12(data, None)
    return [entry.certificate for entry in (bundle.cert, *bundle.additional_certs) if entry is not None]


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    for attribute in name.get_attributes_for_oid(oid):
        value = attribute.value
        return value if isinstance(value, str) else value.decode("latin-1")
    return ""


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    dns = tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
    return dns, tuple(str(address) for address in names.get_values_for_type(x509.IPAddress))


def _rsa_bits(certificate: x509.Certificate) -> int | None:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        return None
    return key.key_size if isinstance(key, rsa.RSAPublicKey) else None


def _weakly_signed(certificate: x509.Certificate) -> bool:
    try:
        return isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
    except UnsupportedAlgorithm:
        return False


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:100]
    return text if text.isprintable() and text else type(error).__name__
