"""The client's side of SCRAM (RFC 5802, RFC 7677); it does the expensive key derivation once per salt.

It derives no keys for storage and does no channel binding. A library would derive the key at every login, which is most
of the CPU time of a login in a load generator.
"""

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache

MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
_ROUNDS = range(4096, 1_000_001)  # the fewest is RFC 7677's; Prosody has 10,000


@lru_cache(maxsize=65536)
def _salted_password(digest: str, password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)


class ScramClient:
    """One exchange: `first`, then `final` with the server's first message, then `verify` with its last."""

    def __init__(self, mechanism: str, username: str, password: str, nonce: str | None = None) -> None:
        self._digest = MECHANISMS[mechanism]
        self._password = password
        self._nonce = nonce or secrets.token_urlsafe(18)
        escaped = username.replace("=", "=3D").replace(",", "=2C")
        self._first_bare = f"n={escaped},r={self._nonce}"
        self._server_signature = b""

    def first(self) -> str:
        """Return the client's first message."""
        return f"n,,{self._first_bare}"

    def final(self, server_first: str) -> str:
        """Return the client's final message.

        Raises ValueError if the server's message is malformed, its nonce does not extend ours, or it demands fewer
        rounds than RFC 7677 allows, or so many that they would keep this machine busy.
        """
        try:
            fields = dict(part.split("=", 1) for part in server_first.split(","))
            nonce, salt, rounds = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError):
            raise ValueError("the server's first message is malformed") from None
        if not nonce.startswith(self._nonce):
            raise ValueError("the server's nonce does not extend the client's")
        if rounds not in _ROUNDS:
            raise ValueError(f"the server demands {rounds} rounds of hashing")
        salted = _salted_password(self._digest, self._password, salt, rounds)
        client_key = self._hmac(salted, b"Client Key")
        without_proof = f"c=biws,r={nonce}"
        exchange = f"{self._first_bare},{server_first},{without_proof}".encode()
        signature = self._hmac(hashlib.new(self._digest, client_key).digest(), exchange)
        self._server_signature = self._hmac(self._hmac(salted, b"Server Key"), exchange)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}"

    def verify(self, server_final: str) -> None:
        """Raise ValueError unless the server has shown that it knows the account's key."""
        expected = "v=" + base64.b64encode(self._server_signature).decode()
        if not hmac.compare_digest(server_final, expected):
            raise ValueError("the server's signature is wrong")

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._digest)
