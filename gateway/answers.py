"""What every documented answer of APNs and FCM means: one table of who is to blame. `handler` decides what to do.

Sources: Apple, "Handling notification responses from APNs"; Firebase, "ErrorCode" of the HTTP v1 API and "FCM error
codes"; RFC 9110 for a status without a known word.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(Enum):
    """Who an answer blames, and so what the gateway does."""

    NONE = auto()  # the push was accepted
    TOKEN = auto()  # the device's token is dead: it is unregistered
    # The token does not fit this app, project or environment. If the provider has just accepted another token, this one
    # is dead: it is unregistered. Otherwise the settings may be wrong: the push is rejected. See `handler`.
    TOKEN_OR_SETTINGS = auto()
    PUSH = auto()  # this request will never be accepted: it is rejected
    SETTINGS = auto()  # key, account or app identifier are wrong, and a person must act: the push is rejected
    ACCESS = auto()  # our access token is refused: a new one is made, then the push is tried again
    CONNECTION = auto()  # this connection is unusable: the push is tried again on a new one
    BUSY = auto()  # too many requests: the push is tried again later
    PROVIDER = auto()  # the provider or a proxy before it is in trouble: the push is tried again

    @property
    def passes(self) -> bool:
        """True if another try may succeed."""
        return self in (Fault.CONNECTION, Fault.BUSY, Fault.PROVIDER)


APNS: Mapping[tuple[int, str], Fault] = {
    (400, "BadCollapseId"): Fault.PUSH,
    (400, "BadDeviceToken"): Fault.TOKEN_OR_SETTINGS,  # no token at all, or one of the other APNS_ENVIRONMENT
    (400, "BadExpirationDate"): Fault.PUSH,
    (400, "BadMessageId"): Fault.PUSH,
    (400, "BadPriority"): Fault.PUSH,
    (400, "BadTopic"): Fault.SETTINGS,
    (400, "DeviceTokenNotForTopic"): Fault.TOKEN_OR_SETTINGS,  # a token of another app, or a wrong APNS_BUNDLE_ID
    (400, "DuplicateHeaders"): Fault.PUSH,
    (400, "IdleTimeout"): Fault.CONNECTION,
    (400, "InvalidPushType"): Fault.PUSH,
    (400, "MissingDeviceToken"): Fault.PUSH,
    (400, "MissingTopic"): Fault.SETTINGS,
    (400, "PayloadEmpty"): Fault.PUSH,
    (400, "TopicDisallowed"): Fault.SETTINGS,
    (403, "BadCertificate"): Fault.SETTINGS,
    (403, "BadCertificateEnvironment"): Fault.SETTINGS,
    (403, "BadEnvironmentKeyIdInToken"): Fault.SETTINGS,  # the key is for the other APNS_ENVIRONMENT only
    (403, "BadEnvironmentKeyInToken"): Fault.SETTINGS,  # the same, as APNs really says it
    (403, "ExpiredProviderToken"): Fault.ACCESS,
    (403, "Forbidden"): Fault.SETTINGS,
    (403, "InvalidProviderToken"): Fault.ACCESS,
    (403, "MissingProviderToken"): Fault.ACCESS,
    (403, "UnrelatedKeyIdInToken"): Fault.SETTINGS,  # the key is for other apps only
    (404, "BadPath"): Fault.PUSH,
    (405, "MethodNotAllowed"): Fault.PUSH,
    (410, "ExpiredToken"): Fault.TOKEN,
    (410, "Unregistered"): Fault.TOKEN,
    (413, "PayloadTooLarge"): Fault.PUSH,
    # Sticks to a connection for as long as it lives (https://github.com/jchambers/pushy/issues/931).
    (429, "TooManyProviderTokenUpdates"): Fault.CONNECTION,
    (429, "TooManyRequests"): Fault.BUSY,  # to one device
    (500, "InternalServerError"): Fault.PROVIDER,
    (503, "ServiceUnavailable"): Fault.PROVIDER,
    (503, "Shutdown"): Fault.CONNECTION,
}

# FCM's ErrorCode where there is one, else Google's canonical status. THIRD_PARTY_AUTH_ERROR is about the credentials
# for iOS and the web that are stored at Google: pushes to Android are not affected, and our access token is valid.
FCM: Mapping[tuple[int, str], Fault] = {
    (400, "UNSPECIFIED_ERROR"): Fault.PUSH,
    (400, "INVALID_ARGUMENT"): Fault.PUSH,  # but see INVALID_TOKEN
    (400, "INVALID_TOKEN"): Fault.TOKEN_OR_SETTINGS,  # our word for an INVALID_ARGUMENT that is about the token
    (400, "FAILED_PRECONDITION"): Fault.SETTINGS,
    (401, "THIRD_PARTY_AUTH_ERROR"): Fault.PUSH,
    (401, "UNAUTHENTICATED"): Fault.ACCESS,
    (403, "SENDER_ID_MISMATCH"): Fault.TOKEN_OR_SETTINGS,  # a token of another project, or another project's account
    (403, "PERMISSION_DENIED"): Fault.SETTINGS,
    (404, "UNREGISTERED"): Fault.TOKEN,
    (404, "NOT_FOUND"): Fault.SETTINGS,  # the project
    (429, "QUOTA_EXCEEDED"): Fault.BUSY,
    (429, "RESOURCE_EXHAUSTED"): Fault.BUSY,
    (499, "CANCELLED"): Fault.PROVIDER,
    (500, "INTERNAL"): Fault.PROVIDER,
    (503, "UNAVAILABLE"): Fault.PROVIDER,
    (504, "DEADLINE_EXCEEDED"): Fault.PROVIDER,
}

_BY_STATUS = {
    200: Fault.NONE,
    401: Fault.ACCESS,  # a front end may say it with an empty body or in HTML
    403: Fault.SETTINGS,
    408: Fault.PROVIDER,
    410: Fault.TOKEN,
    421: Fault.CONNECTION,  # RFC 9110, 15.5.20
    425: Fault.PROVIDER,
    429: Fault.BUSY,
}
# Used where an answer carries no known word.
HTTP_WORDS = ("malformed", "http_3xx", "http_4xx", "http_5xx")


class Meaning(NamedTuple):
    """What an answer means.

    Args:
        fault: who is to blame.
        word: the provider's word, or one of HTTP_WORDS; empty for a push that was accepted.
        wait: seconds that the provider asks to wait before another try.
        since: Unix time since which the token is dead, if the provider said so.
    """

    fault: Fault
    word: str = ""
    wait: float = 0.0
    since: float | None = None


ACCEPTED = Meaning(Fault.NONE)


def judge(table: Mapping[tuple[int, str], Fault], status: int, word: str) -> tuple[Fault, str]:
    """Return who is to blame for an answer, and a word for it out of a bounded set: see `words`.

    Args:
        table: APNS or FCM.
        status: the HTTP status; 0 if it could not be read.
        word: the provider's own word, empty if there is none.
    """
    fault = table.get((status, word))
    if fault is not None:
        return fault, word
    fault = _BY_STATUS.get(status, Fault.PROVIDER if status >= 500 or not status else Fault.PUSH)  # noqa: PLR2004 - HTTP's
    if word in words(table):
        return fault, word
    return fault, f"http_{status // 100}xx" if 300 <= status < 600 else "malformed"  # noqa: PLR2004 - HTTP's


def words(table: Mapping[tuple[int, str], Fault]) -> tuple[str, ...]:
    """Return every word that `judge` may return for a table, each once."""
    return (*dict.fromkeys(word for _, word in table), *HTTP_WORDS)
