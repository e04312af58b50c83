"""How any answer is read. The expectations are written by hand from Apple's and Google's documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import answers
from gateway.answers import Fault, Meaning
from gateway.apns import Apns
from gateway.exchange import Response
from gateway.fcm import Fcm
from gateway.metrics import REASONS
from gateway.push import Kind, Push

APNS, FCM = Apns("x", "com.commeazy.app"), Fcm("x")
CALL = Push("n" * 64, Kind.CALL, 0, 30, 30, "id")
MESSAGE = Push("n" * 64, Kind.MESSAGE, 0, 60, 60, "id")
STATUSES = st.sampled_from([0, 100, 200, 204, 302, 400, 401, 403, 404, 410, 413, 429, 500, 502, 503, 999])
WORDS = st.sampled_from(["reason", "timestamp", "error", "details", "errorCode", "status", "fieldViolations", "field"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=8
)
BODIES = st.one_of(
    st.binary(max_size=50),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.integers(1, 5000).map(lambda digits: b'{"reason":"Unregistered","timestamp":' + b"9" * digits + b"}"),
)
DATE = r"(Mon, )?[0-9]{1,3} (Jan|Foo) -?[0-9]{1,12} [0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3} ([+-][0-9]{1,12}|GMT|)"
RETRY_AFTER = st.one_of(st.just({}), st.builds(lambda text: {"retry-after": text}, st.text() | st.from_regex(DATE)))


@pytest.mark.parametrize(("provider", "handler"), [(APNS, "voip"), (FCM, "fcm")], ids=["apns", "fcm"])
def test_no_answer_leads_to_an_error_of_ours_or_to_a_word_without_bounds(provider: Apns | Fcm, handler: str) -> None:
    """An exception would be a push without an outcome; a provider's text as a label would be a series of its own."""

    @given(STATUSES, RETRY_AFTER, BODIES)
    def check(status: int, headers: dict[str, str], body: bytes) -> None:
        meaning = provider.understand(Response(status, headers, body), CALL)
        assert meaning.wait >= 0
        assert meaning.since is None or str(int(meaning.since))
        assert meaning.fault is Fault.NONE or meaning.word in REASONS[handler]

    check()


def fcm_error(status: str, *details: dict[str, object]) -> bytes:
    return json.dumps({"error": {"code": 0, "message": "…", "status": status, "details": list(details)}}).encode()


def code(name: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": name}


def field(name: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": name}]}


DEAD, DOUBT, FINAL, PERSON = Fault.TOKEN, Fault.TOKEN_OR_SETTINGS, Fault.PUSH, Fault.SETTINGS
ACCESS, CONNECTION, BUSY, TROUBLE = Fault.ACCESS, Fault.CONNECTION, Fault.BUSY, Fault.PROVIDER


@pytest.mark.parametrize(
    ("status", "reasons", "fault"),
    [
        (400, "BadDeviceToken DeviceTokenNotForTopic", DOUBT),
        (400, "BadCollapseId BadExpirationDate BadMessageId BadPriority DuplicateHeaders InvalidPushType", FINAL),
        (400, "MissingDeviceToken PayloadEmpty", FINAL),
        (400, "BadTopic MissingTopic TopicDisallowed", PERSON),
        (400, "IdleTimeout", CONNECTION),
        (403, "ExpiredProviderToken InvalidProviderToken MissingProviderToken", ACCESS),
        (403, "BadCertificate BadCertificateEnvironment Forbidden", PERSON),
        (403, "BadEnvironmentKeyIdInToken BadEnvironmentKeyInToken UnrelatedKeyIdInToken", PERSON),
        (404, "BadPath", FINAL),
        (405, "MethodNotAllowed", FINAL),
        (410, "ExpiredToken Unregistered", DEAD),
        (413, "PayloadTooLarge", FINAL),
        (429, "TooManyProviderTokenUpdates", CONNECTION),
        (429, "TooManyRequests", BUSY),
        (500, "InternalServerError", TROUBLE),
        (503, "ServiceUnavailable", TROUBLE),
        (503, "Shutdown", CONNECTION),
    ],
)
def test_what_apple_documents_is_understood(status: int, reasons: str, fault: Fault) -> None:
    for reason in reasons.split():
        body = json.dumps({"reason": reason}).encode()
        assert APNS.understand(Response(status, {}, body), CALL) == Meaning(fault, reason)


@pytest.mark.parametrize(
    ("status", "body", "fault", "word"),
    [
        (400, fcm_error("INVALID_ARGUMENT", code("INVALID_ARGUMENT")), DOUBT, "INVALID_TOKEN"),
        (400, fcm_error("INVALID_ARGUMENT", field("message.token")), DOUBT, "INVALID_TOKEN"),
        (400, fcm_error("INVALID_ARGUMENT", field("message.data[0].value")), FINAL, "INVALID_ARGUMENT"),
        (
            400,
            fcm_error("INVALID_ARGUMENT", code("INVALID_ARGUMENT"), field("message.android.ttl")),
            FINAL,
            "INVALID_ARGUMENT",
        ),
        (400, fcm_error("INVALID_ARGUMENT"), FINAL, "INVALID_ARGUMENT"),
        (401, fcm_error("UNAUTHENTICATED"), ACCESS, "UNAUTHENTICATED"),
        (401, fcm_error("UNAUTHENTICATED", code("THIRD_PARTY_AUTH_ERROR")), FINAL, "THIRD_PARTY_AUTH_ERROR"),
        (401, b"", ACCESS, "http_4xx"),
        (401, b"<html>401</html>", ACCESS, "http_4xx"),
        (403, fcm_error("PERMISSION_DENIED"), PERSON, "PERMISSION_DENIED"),
        (403, fcm_error("PERMISSION_DENIED", code("SENDER_ID_MISMATCH")), DOUBT, "SENDER_ID_MISMATCH"),
        (404, fcm_error("NOT_FOUND", code("UNREGISTERED")), DEAD, "UNREGISTERED"),
        (404, fcm_error("NOT_FOUND"), PERSON, "NOT_FOUND"),
        (404, b"<html>404</html>", FINAL, "http_4xx"),
        (429, fcm_error("RESOURCE_EXHAUSTED", code("QUOTA_EXCEEDED")), BUSY, "QUOTA_EXCEEDED"),
        (500, fcm_error("INTERNAL", code("INTERNAL")), TROUBLE, "INTERNAL"),
        (503, fcm_error("UNAVAILABLE", code("UNAVAILABLE")), TROUBLE, "UNAVAILABLE"),
        (503, fcm_error("NOT_FOUND", code("UNREGISTERED")), TROUBLE, "UNREGISTERED"),
    ],
)
def test_what_google_documents_is_understood(status: int, body: bytes, fault: Fault, word: str) -> None:
    meaning = FCM.understand(Response(status, {}, body), MESSAGE)
    assert (meaning.fault, meaning.word) == (fault, word)


@pytest.mark.parametrize("provider", [APNS, FCM], ids=["apns", "fcm"])
@pytest.mark.parametrize(
    ("status", "fault"),
    [(0, TROUBLE), (301, FINAL), (408, TROUBLE), (421, CONNECTION), (502, TROUBLE), (504, TROUBLE), (999, TROUBLE)],
)
def test_what_a_proxy_says_is_understood_by_its_status(provider: Apns | Fcm, status: int, fault: Fault) -> None:
    """Google's front ends answer with HTML and 502 or 504 of their own."""
    assert provider.understand(Response(status, {}, b"<html>"), CALL).fault is fault


def test_a_provider_may_say_how_long_to_wait() -> None:
    def wait(headers: dict[str, str], push: Push = MESSAGE, status: int = 429) -> float:
        body = fcm_error("RESOURCE_EXHAUSTED", code("QUOTA_EXCEEDED"))
        return FCM.understand(Response(status, headers, body), push).wait

    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert wait({"retry-after": "7"}) == 7
    assert wait({"retry-after": "0"}) == 0
    assert 95 < wait({"retry-after": soon}) <= 100
    assert wait({}) == 60  # Google: no retry within a minute
    assert wait({}, CALL) == 5  # which a call does not have
    assert wait({}, status=503) == 0


def test_the_time_of_a_410_is_read_if_it_is_one() -> None:
    def since(timestamp: object) -> float | None:
        body = json.dumps({"reason": "Unregistered", "timestamp": timestamp}).encode()
        meaning = APNS.understand(Response(410, {}, body), CALL)
        assert meaning.fault is Fault.TOKEN
        return meaning.since

    assert since(1_700_000_000_123) == 1_700_000_000.123
    assert [since(odd) for odd in (None, "1700000000123", True, -1, 10**400)] == [None] * 5


def test_every_word_of_the_tables_is_a_label_value_and_listed_once() -> None:
    for table, handler in ((answers.APNS, "voip"), (answers.FCM, "fcm")):
        assert set(answers.words(table)) <= set(REASONS[handler])
        assert len(set(REASONS[handler])) == len(REASONS[handler])
