"""Functions of OpenSSL that pyOpenSSL lacks: verify for a purpose, choose kinds of keys and key exchanges.

They use private bindings of the library, which may change: its version is pinned, and tests cover each function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL._util import lib as _lib

if TYPE_CHECKING:
    from OpenSSL import SSL, crypto

_SIGNATURES = {
    "rsa": b"RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+SHA1",
    "ecdsa": b"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ECDSA+SHA1",
}
_CIPHERS = {"rsa": b"aRSA:@SECLEVEL=0", "ecdsa": b"aECDSA:@SECLEVEL=0"}
KEYS = tuple(_SIGNATURES)


def verify_for_servers(store: crypto.X509Store, *, wanted: bool) -> None:
    """Make a store check, or not check, that every certificate of a path may be used for TLS servers.

    That is what `openssl verify -purpose sslserver` does: key usage, extended key usage, basic constraints, and the
    trust settings of a BEGIN TRUSTED CERTIFICATE.
    """
    purpose = _lib.X509_PURPOSE_SSL_SERVER if wanted else _lib.X509_PURPOSE_ANY
    _lib.X509_STORE_set_purpose(store._store, purpose)  # noqa: SLF001 - as above


def prefer_quick_groups(context: SSL.Context) -> None:
    """Make a context prefer a cheap key exchange: a probe sends nothing secret."""
    _lib.SSL_CTX_set1_curves_list(context._context, b"X25519:P-256:P-384:P-521:X448:?X25519MLKEM768")  # noqa: SLF001 - as above


def ask_for_key(context: SSL.Context, key: str) -> None:
    """Make a context accept signatures of one kind of key only, of KEYS, so that a server shows that certificate."""
    context.set_cipher_list(_CIPHERS[key])  # decides in TLS 1.2; the signatures do in TLS 1.3
    _lib.SSL_CTX_set1_sigalgs_list(context._context, _SIGNATURES[key])  # noqa: SLF001 - as above
