"""Signs what the test users send and how their sessions are called, so that nobody else's is taken for theirs. No I/O.

The key is made of all passwords together: who stole one of them cannot sign. Two exporters with the same passwords know
each other's marks, and so does one that was restarted.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_RANDOM = 12  # bytes of a mark that nobody can guess
_SIGNATURE = 16  # hexadecimal digits


class Marks:
    """Makes marks and knows its own.

    Args:
        passwords: of all accounts.
    """

    def __init__(self, passwords: Iterable[str]) -> None:
        text = b"\0".join(password.encode() for password in sorted(passwords))
        self._key = hmac.digest(text, b"commeazy synthetic users", "sha256")

    def new(self) -> str:
        """Return a mark that nobody has had: letters, digits and one dot."""
        random = secrets.token_hex(_RANDOM)
        return f"{random}.{self._signature(random)}"

    def genuine(self, mark: str) -> bool:
        """Tell whether a text is a mark that was made with this key."""
        random, _, signature = mark.partition(".")
        return mark.isascii() and hmac.compare_digest(signature, self._signature(random))

    def _signature(self, random: str) -> str:
        return hmac.digest(self._key, random.encode(), "sha256").hex()[:_SIGNATURE]
