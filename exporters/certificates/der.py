"""Walks DER (X.690), the encoding of certificates, and reads the parts that the exporter needs. It judges nothing.

It exists because libraries refuse a whole certificate for one bad field in a part that is not needed, although every
TLS client connects to its server. This reader leaves out only what it cannot read.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMON_NAME = bytes.fromhex("550403")  # 2.5.4.3
ORGANIZATION = bytes.fromhex("55040a")  # 2.5.4.10
_ALTERNATIVE_NAME = bytes.fromhex("551d11")  # 2.5.29.17
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
_SHA1_OR_MD5 = frozenset(map(bytes.fromhex, ("2b0e03021a", "2a864886f70d0205")))
_WEAK_SIGNATURES = frozenset(map(bytes.fromhex, (
    "2a864886f70d010104",  # md5WithRSAEncryption
    "2a864886f70d010105",  # sha1WithRSAEncryption
    "2b0e03021d",  # sha1WithRSASignature
    "2a8648ce3d0401",  # ecdsa-with-SHA1
    "2a8648ce380403",  # dsa-with-SHA1
)))  # fmt: skip
_PSS = bytes.fromhex("2a864886f70d01010a")  # its digest is SHA-1 unless a parameter says otherwise (RFC 4055 3.1)
_RSA_KEYS = frozenset({bytes.fromhex("2a864886f70d010101"), _PSS})
_EC_KEY = bytes.fromhex("2a8648ce3d0201")
SEQUENCE = 0x30
_BIT_STRING, _OID = 0x03, 0x06
_OCTETS, _GENERALIZED_TIME = 0x04, 0x18
# X.680's string types; T.61 is read as Latin-1, as OpenSSL does.
_TEXT = {0x0C: "utf-8", 0x13: "latin-1", 0x14: "latin-1", 0x16: "latin-1", 0x1A: "latin-1", 0x12: "latin-1"}
_TEXT |= {0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87  # of GeneralName (RFC 5280 4.2.1.6)
_EXTENSIONS, _VERSION, _EXPLICIT = 0xA3, 0xA0, 0xA0
_LONG = 0x80
_MAX_LENGTH_BYTES = 4
_BEFORE_ISSUER = 2  # in a TBSCertificate: serial number and signature algorithm


class Element(NamedTuple):
    """One value: its tag, its whole encoding, and its content."""

    tag: int
    whole: bytes
    content: bytes

    def children(self) -> Iterator[Element]:
        """Yield the values in it; raises ValueError at the first that is not one."""
        return elements(self.content)


class Parts(NamedTuple):
    """The parts of a certificate.

    Args:
        serial: its serial number.
        dates: the begin and end of its validity, each as written and whether the year has four digits.
        common_name: of its subject, "" if it has none.
        issuer: its issuer's common name, or else organisation.
        dns_names: its names of type dNSName, lower case.
        ip_addresses: its names of type iPAddress, in their usual text form.
        self_issued: whether subject and issuer are the same, as in a root.
        key: the kind of its key: "rsa", "ecdsa" or "other".
        rsa_bits: size of its RSA key; None for another kind of key, or one that cannot be read.
        weakly_signed: whether its signature uses SHA-1 or MD5.
    """

    serial: int
    dates: tuple[tuple[bytes, bool], tuple[bytes, bool]]
    common_name: str
    issuer: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    self_issued: bool
    key: str
    rsa_bits: int | None
    weakly_signed: bool


def elements(data: bytes) -> Iterator[Element]:
    """Yield one value after the other; raises ValueError for what is not DER."""
    at = 0
    while at < len(data):
        one = element(data, at)
        yield one
        at += len(one.whole)


def element(data: bytes, at: int = 0) -> Element:
    """Read the value that begins there; raises ValueError."""
    if len(data) < at + 2:
        raise ValueError("cut off")
    tag, length, begin = data[at], data[at + 1], at + 2
    if length >= _LONG:
        count = length - _LONG
        if not 1 <= count <= _MAX_LENGTH_BYTES:
            raise ValueError("a length that is not DER")
        length, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
    if begin + length > len(data):
        raise ValueError("cut off")
    return Element(tag, data[at : begin + length], data[begin : begin + length])


def parts(der: bytes) -> Parts:
    """Read the parts of a certificate (RFC 5280 4.1); raises ValueError if its structure is wrong."""
    to_be_signed, algorithm, *_ = element(der).children()
    fields = [field for field in to_be_signed.children() if field.tag != _VERSION]
    issuer, validity, subject, key = fields[_BEFORE_ISSUER : _BEFORE_ISSUER + 4]
    begin, end = ((one.content, one.tag == _GENERALIZED_TIME) for one in validity.children())
    dns, addresses = _alternative_names(fields)
    kind, bits = _key(key)
    return Parts(
        serial=int.from_bytes(fields[0].content, "big", signed=True),
        dates=(begin, end),
        common_name=_attribute(subject, COMMON_NAME),
        issuer=_attribute(issuer, COMMON_NAME) or _attribute(issuer, ORGANIZATION),
        dns_names=dns,
        ip_addresses=addresses,
        self_issued=subject.whole == issuer.whole,
        key=kind,
        rsa_bits=bits,
        weakly_signed=_weakly_signed(algorithm),
    )


def of_pkcs7(der: bytes) -> list[bytes]:
    """Return the certificates of a PKCS#7 bundle (RFC 2315 9.1), empty for anything else."""
    try:
        kind, content = element(der).children()
        if (kind.tag, kind.content) != (_OID, _SIGNED_DATA) or content.tag != _EXPLICIT:
            return []
        fields = list(element(content.content).children())
        return [one.whole for field in fields if field.tag == _EXPLICIT for one in field.children()]
    except ValueError:
        return []


def _attribute(name: Element, wanted: bytes) -> str:
    """Return the first attribute of this type in a name (RFC 5280 4.1.2.4), even if others are malformed."""
    try:
        for relative in name.children():
            for attribute in relative.children():
                kind, value = attribute.children()
                if kind.content == wanted:
                    return _text(value)
    except ValueError:
        pass
    return ""


def _text(value: Element) -> str:
    if value.tag == _BIT_STRING:
        return value.content[1:].decode("latin-1")
    return value.content.decode(_TEXT.get(value.tag, "latin-1"), errors="replace")


def _alternative_names(fields: list[Element]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    dns: list[str] = []
    addresses: list[str] = []
    try:
        for field in fields:
            if field.tag != _EXTENSIONS:
                continue
            for extension in element(field.content).children():
                kind, *_, value = extension.children()
                if kind.content == _ALTERNATIVE_NAME and value.tag == _OCTETS:
                    _names(value.content, dns, addresses)
    except ValueError:
        pass  # the parts read so far are kept
    return tuple(dns), tuple(addresses)


def _names(encoded: bytes, dns: list[str], addresses: list[str]) -> None:
    for name in element(encoded).children():
        if name.tag == _DNS_NAME:
            dns.append(name.content.lower().decode("latin-1"))  # names are ASCII; other letters stay as they are
        elif name.tag == _IP_ADDRESS:
            try:
                addresses.append(str(ip_address(name.content)))
            except ValueError:
                continue  # neither 4 nor 16 bytes


def _key(key: Element) -> tuple[str, int | None]:
    try:
        algorithm, bits = key.children()
        kind = next(algorithm.children()).content
        if kind in _RSA_KEYS:
            return "rsa", _rsa_bits(bits)
    except (ValueError, StopIteration):
        return "other", None
    return ("ecdsa" if kind == _EC_KEY else "other"), None


def _rsa_bits(bits: Element) -> int | None:
    try:
        modulus = next(element(bits.content, 1).children())
    except (ValueError, StopIteration):
        return None
    return int.from_bytes(modulus.content, "big", signed=True).bit_length()


def _weakly_signed(algorithm: Element) -> bool:
    try:
        kind, *parameters = algorithm.children()
        if kind.content != _PSS:
            return kind.content in _WEAK_SIGNATURES
        # RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm DEFAULT sha1, ... }
        chosen = [one for parameter in parameters for one in parameter.children() if one.tag == _EXPLICIT]
        if not chosen:
            return True
        return next(element(chosen[0].content).children()).content in _SHA1_OR_MD5
    except (ValueError, StopIteration):
        return False
