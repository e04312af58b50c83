"""Makes certificates with any fault: own CAs, dates, names, weak keys. trustme makes the valid ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and what stands above it.

    Attributes:
        certificate: the certificate itself.
        key: its private key.
        above: its issuers as a server sends them, without the root.
    """

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The certificate and what is above it, as certbot's fullchain.pem."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        """Its private key, as certbot's privkey.pem."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """A certificate authority, with a root of its own or below another.

    Args:
        name: its common name.
        above: who signs its certificate, None for a root.
        days: until its certificate expires.
    """

    def __init__(self, name: str, above: Authority | None = None, *, days: float = 3650) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = new_key()
        self.above = above
        self.certificate = (above or self).sign(
            x509.CertificateBuilder()
            .subject_name(self.name)
            .public_key(self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False),
            days=days,
        )

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *host_names: str,
        common_name: str | None = None,
        days: float = 90,
        begins: float = -400,
        key: Key | None = None,
    ) -> Issued:
        """Issue a certificate.

        Args:
            host_names: DNS names and IP addresses.
            common_name: its subject; the first host name unless given.
            days: until it expires; negative for one that has.
            begins: days until it is valid; negative for one that is.
            key: its key; a new elliptic one unless given.
        """
        key = key or new_key()
        subject = common_name if common_name is not None else host_names[0]
        names = [_general_name(name) for name in host_names]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return Issued(self.sign(builder, days=days, begins=begins), key, tuple(self._served()))

    def sign(self, builder: x509.CertificateBuilder, *, days: float, begins: float = -400) -> x509.Certificate:
        """Sign what a builder has, with a serial number and dates in days from now."""
        now = datetime.now(UTC)
        return (
            builder.issuer_name(self.name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=days))
            .sign(self.key, hashes.SHA256())
        )

    def _served(self) -> list[x509.Certificate]:
        return [self.certificate, *self.above._served()] if self.above else []  # noqa: SLF001 - another of our kind


def new_key(rsa_bits: int = 0) -> Key:
    """Make an RSA key of this size, or an elliptic one, which takes no time."""
    return rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
