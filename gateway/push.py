"""The words of the gateway: what a push is and what can become of it. No I/O."""

from __future__ import annotations

import re
from enum import Enum, StrEnum, auto
from typing import NamedTuple

MAX_NODE = 4096  # characters; the longest token that FCM allows
_APNS_TOKEN = re.compile(r"[0-9a-fA-F]{64,}")


def is_apns_token(node: str) -> bool:
    """Tell whether a device's token is one of Apple's; any other belongs to FCM."""
    return _APNS_TOKEN.fullmatch(node) is not None


class Kind(StrEnum):
    """What a push announces, and for how many seconds it is worth sending (specification, Section 12)."""

    CALL = "call"
    MESSAGE = "message"

    @property
    def worth(self) -> float:
        """Seconds from its arrival."""
        return 30.0 if self is Kind.CALL else 60.0


class Purpose(Enum):
    """Who a push is for."""

    USER = auto()
    CANARY = auto()  # the operator's own test phone: see `canary`
    DRY_RUN = auto()  # nobody: FCM checks everything and delivers nothing


class Outcome(StrEnum):
    """The values of the `Push-Outcome` header."""

    SENT = "sent"
    FAILED = "failed"
    UNREGISTERED = "unregistered"
    EXPIRED = "expired"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"


class Push(NamedTuple):
    """One push.

    Args:
        node: the device's token at its provider.
        kind: call or message.
        arrived: the loop's time of the request.
        deadline: the loop's time after which it is not sent.
        expires: the same as Unix time.
        id: a UUID, the same in every try.
        purpose: who it is for.
    """

    node: str
    kind: Kind
    arrived: float
    deadline: float
    expires: float
    id: str
    purpose: Purpose = Purpose.USER

    @property
    def suffix(self) -> str:
        """The end of the token, for logs; "short" for a token of which six characters would be too much."""
        return self.node[-6:] if len(self.node) >= 16 else "short"  # noqa: PLR2004 - said above


class Result(NamedTuple):
    """The result of a push.

    Args:
        outcome: what the caller receives.
        reason: a word of the provider or the gateway; `metrics` bounds the set before it becomes a label.
        since: Unix time since which the token is unregistered, if the provider said so.
    """

    outcome: Outcome
    reason: str = ""
    since: float | None = None
