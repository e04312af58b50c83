"""What the handlers make of a provider's answer, whatever it is; pure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apns import Apns
from gateway.exchange import Response
from gateway.fcm import Fcm
from gateway.push import Outcome

APNS, FCM = Apns("x", "com.commeazy.app"), Fcm("x")
STATUSES = st.sampled_from([0, 100, 200, 302, 400, 401, 403, 404, 410, 413, 429, 500, 502, 503])
WORDS = st.sampled_from(["reason", "timestamp", "error", "details", "errorCode", "status"])
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


@pytest.mark.parametrize("dialect", [APNS, FCM], ids=["apns", "fcm"])
def test_no_answer_leads_to_an_error_of_ours(dialect: Apns | Fcm) -> None:
    """An exception here would be a push without an outcome and without a count."""

    @given(STATUSES, RETRY_AFTER, BODIES)
    def check(status: int, headers: dict[str, str], body: bytes) -> None:
        answer = dialect.understand(Response(status, headers, body))
        assert answer.retry_after >= 0
        assert answer.since is None or str(int(answer.since))

    check()


@pytest.mark.parametrize("dialect", [APNS, FCM], ids=["apns", "fcm"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_provider_in_trouble_is_asked_again_even_if_a_proxy_says_so(dialect: Apns | Fcm, status: int) -> None:
    """Google's front ends answer with HTML and 502 or 504 of their own."""
    answer = dialect.understand(Response(status, {}, b"<html>"))
    assert (answer.outcome, answer.faulty) == (None, True)


def test_the_time_of_a_410_is_read_if_it_is_one() -> None:
    def since(timestamp: object) -> float | None:
        body = json.dumps({"reason": "Unregistered", "timestamp": timestamp}).encode()
        answer = APNS.understand(Response(410, {}, body))
        assert answer.outcome is Outcome.UNREGISTERED
        return answer.since

    assert since(1_700_000_000_123) == 1_700_000_000.123
    assert [since(odd) for odd in (None, "1700000000123", True, -1, 10**400)] == [None] * 5
