"""Reads an X.509 certificate into plain values. It judges nothing and opens no file.

OpenSSL reads the certificate, its dates and its serial number, as in the servers and clients that use them; `der` reads
the rest, part by part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from OpenSSL import crypto

from exporters.certificates import der as encoding
from toolkit.scrape import TargetError

# As OpenSSL finds them (crypto/pem/pem_lib.c): a line of its own, not indented, with nothing but white space behind it.
# The key of HAProxy's combined PEM stands between such blocks: it is neither decoded nor kept.
_BEGIN = re.compile(
    rb"^-----BEGIN (CERTIFICATE|X509 CERTIFICATE|TRUSTED CERTIFICATE|PKCS7)-----[\x00-\x20]*$", re.MULTILINE
)
_END = re.compile(rb"^-----END [^\n]*(?:\n|\Z)", re.MULTILINE)
_BEGIN_KEY = re.compile(rb"^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[\x00-\x20]*$", re.MULTILINE)
_DASHES = re.compile(rb"^-----[^\n]*", re.MULTILINE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TIME = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:\.[0-9]+)?Z")
_NO_SECONDS = "utctime is too short"
_FIRST_OF_2000 = b"50"  # a year of two digits is from 1950 to 2049 (RFC 5280 4.1.2.5.1)
_CYCLE_YEARS, _CYCLE_SECONDS = 400, 146_097 * 86_400  # of the Gregorian calendar; Python's begins with the year 1


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate.

    Args:
        subject_cn: its common name; without one its first DNS name or IP address; as the issuer wrote it, so not yet
            safe as a label.
        issuer_cn: its issuer's common name, or else organisation.
        serial: as `openssl x509 -serial` prints it.
        not_before: when it becomes valid, in seconds since 1970.
        not_after: when it expires, in seconds since 1970.
        common_name: its common name, "" without one.
        dns_names: its names of type dNSName, lower case.
        ip_addresses: its names of type iPAddress, in their usual text form.
        self_issued: whether subject and issuer are the same, as in a root.
        key: "rsa", "ecdsa" or "other".
        rsa_bits: size of its RSA key; None for another kind of key.
        weakly_signed: whether its signature uses SHA-1 or MD5.
        der: its encoding, which also identifies it.
    """

    subject_cn: str
    issuer_cn: str
    serial: str
    not_before: float
    not_after: float
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    self_issued: bool
    key: str
    rsa_bits: int | None
    weakly_signed: bool
    der: bytes

    @classmethod
    def read(cls, certificate: crypto.X509) -> Certificate:
        """Copy the needed values; raises TargetError("bad_certificate") if the dates cannot be parsed."""
        return cls._of(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate), certificate)

    @classmethod
    def load(cls, block: bytes, kind: int = crypto.FILETYPE_ASN1) -> Certificate:
        """Read one from DER or, of kind crypto.FILETYPE_PEM, from one block of PEM.

        Raises:
            TargetError: "bad_file" if OpenSSL does not accept it as a certificate, or as `read`.
        """
        try:
            return cls.read(crypto.load_certificate(kind, block))
        except crypto.Error as error:
            if not any(_NO_SECONDS in reason for reason in error.args[0]):
                raise TargetError("bad_file", "OpenSSL cannot read the certificate") from None
        return cls._of(_decoded(block) if kind == crypto.FILETYPE_PEM else block, None)

    @classmethod
    def _of(cls, der: bytes, certificate: crypto.X509 | None) -> Certificate:
        try:
            parts = encoding.parts(der)
            if certificate:
                begin, end = certificate.get_notBefore(), certificate.get_notAfter()
                serial = certificate.get_serial_number()
            else:
                (begin, end), serial = (_completed(*date) for date in parts.dates), parts.serial
            not_before, not_after = _seconds(begin), _seconds(end)
        except ValueError as error:
            raise TargetError("bad_certificate", f"a certificate cannot be understood ({error})") from None
        names = (parts.common_name, *parts.dns_names, *parts.ip_addresses)
        return cls(
            subject_cn=next(filter(None, names), ""),
            issuer_cn=parts.issuer,
            serial=_serial(serial),
            not_before=not_before,
            not_after=not_after,
            common_name=parts.common_name,
            dns_names=parts.dns_names,
            ip_addresses=parts.ip_addresses,
            self_issued=parts.self_issued,
            key=parts.key,
            rsa_bits=parts.rsa_bits,
            weakly_signed=parts.weakly_signed,
            der=der,
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Args:
        certificates: those that can be read, in the file's order; at least one.
        unreadable: how many others there are.
        leaf_readable: whether the first is among those that can be read.
        broken_key: whether a private key in it is cut off, or joined to what follows without a line end.
    """

    certificates: tuple[Certificate, ...]
    unreadable: int
    leaf_readable: bool
    broken_key: bool = False


def parse_file(data: bytes, *, at_most: int) -> Contents:
    """Read every certificate of a file: PEM (keys and text around are skipped), DER, PKCS#7, passwordless PKCS#12.

    A file is read as OpenSSL and its servers read it: an indented block, for example, only looks like PEM and is
    ignored.

    Args:
        data: the file's bytes.
        at_most: certificates.

    Raises:
        TargetError: "bad_file" (none of these formats, or cut off), "bad_certificate", "too_many_certificates".
    """
    blocks = _blocks(data) or _binary(data)
    if not blocks:
        raise TargetError("bad_file", "it holds no certificate in PEM, DER, PKCS#7 or passwordless PKCS#12")
    if len(blocks) > at_most:
        raise TargetError("too_many_certificates", f"it holds more than {at_most} certificates")
    found: list[Certificate] = []
    errors: list[TargetError | None] = []
    for number, (kind, block) in enumerate(blocks, 1):
        try:
            found.append(Certificate.load(block, kind))
        except TargetError as error:
            errors.append(TargetError(error.reason, f"certificate {number} in it: {error}"))
        else:
            errors.append(None)
    failed = [error for error in errors if error is not None]
    if not found:
        raise failed[0]
    return Contents(tuple(found), len(failed), errors[0] is None, _breaks_a_key(data))


_Block = tuple[int, bytes]


def _blocks(data: bytes) -> list[_Block]:
    """Cut PEM into its certificates; OpenSSL reports what is wrong inside a block."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    blocks: list[_Block] = []
    at = 0
    while begin := _BEGIN.search(data, at):
        end = _END.search(data, begin.end())
        at = end.end() if end else len(data)
        block = data[begin.start() : at]
        if begin[1] == b"PKCS7":
            blocks.extend((crypto.FILETYPE_ASN1, one) for one in encoding.of_pkcs7(_decoded(block)))
        else:  # a trusted one has OpenSSL's settings behind the certificate, which is read alike
            blocks.append((crypto.FILETYPE_PEM, block.replace(b" TRUSTED CERTIFICATE-----", b" CERTIFICATE-----")))
    return blocks


def _breaks_a_key(data: bytes) -> bool:
    """Tell whether a server finds no end of a private key in it. Only the lines around keys are looked at."""
    for begin in _BEGIN_KEY.finditer(data):
        end = _DASHES.search(data, begin.end())
        if not end or end[0].rstrip(bytes(range(0x21))) != b"-----END %b-----" % begin[1]:
            return True
    return False


def _decoded(block: bytes) -> bytes:
    """Return the content of a PEM block, empty if it is not base64."""
    import base64  # noqa: PLC0415 - for the rare format only
    import binascii  # noqa: PLC0415 - as above

    try:
        return base64.b64decode(b"".join(block.split(b"\n")[1:-2]), validate=False)
    except binascii.Error:
        return b""


def _binary(data: bytes) -> list[_Block]:
    """Cut DER into certificates: one after the other, or a bundle."""
    if not data.startswith(b"\x30"):
        return []
    if found := encoding.of_pkcs7(data):
        return [(crypto.FILETYPE_ASN1, one) for one in found]
    if in_a_row := _in_a_row(data):
        return in_a_row
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs12  # noqa: PLC0415 - 0.8 MB, for a rare format

    try:
        bundle = pkcs12.load_pkcs12(data, None)
    except ValueError:
        return []
    entries = (bundle.cert, *bundle.additional_certs)
    return [(crypto.FILETYPE_ASN1, one.certificate.public_bytes(Encoding.DER)) for one in entries if one is not None]


def _in_a_row(data: bytes) -> list[_Block]:
    found: list[_Block] = []
    while data.startswith(b"\x30"):
        try:
            one = encoding.element(data).whole
            if next(encoding.element(one).children()).tag != encoding.SEQUENCE:
                break  # a certificate begins with one, PKCS#12 with a number
        except (ValueError, StopIteration):
            break
        found.append((crypto.FILETYPE_ASN1, one))
        data = data[len(one) :]
    return found


def _serial(number: int) -> str:
    digits = f"{abs(number):X}"
    return ("-" if number < 0 else "") + (digits if len(digits) % 2 == 0 else f"0{digits}")


def _seconds(time: bytes | None) -> float:
    """Read a GeneralizedTime, OpenSSL's form of every date; raises ValueError if it is no date."""
    found = _TIME.fullmatch(time or b"")
    if not found:
        raise ValueError("a date in it is none")
    year, month, day, hour, minute, second = map(int, found.groups())
    later = _CYCLE_YEARS if year == 0 else 0
    try:
        moment = datetime(year + later, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise ValueError("a date in it is none") from None
    return moment.timestamp() - (_CYCLE_SECONDS if later else 0)


def _completed(time: bytes, four_digits: bool) -> bytes:  # noqa: FBT001 - as `der.Parts.dates` has it
    """Complete a date that leaves out its seconds: OpenSSL 3 reads it, OpenSSL 4 does not."""
    if not four_digits:
        time = (b"20" if time[:2] < _FIRST_OF_2000 else b"19") + time
    return re.sub(rb"^([0-9]{12})Z", rb"\g<1>00Z", time)
