"""STUN messages: an encoded message can be decoded, and anything else is refused."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import stun
from toolkit.stun import Attribute, Credentials, MalformedError, Method

CREDENTIALS = Credentials("user", "secret", b"realm", b"nonce")
# RFC 5769 section 2.1: the sample request, of which this checks length, attributes and fingerprint
SAMPLE = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff"
    "80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249"
    "c1b571a280280004e57a3bcf"
)


def response_to(request: bytes, kind: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), stun.COOKIE) + request[8:20] + body


def test_the_fingerprint_is_that_of_the_rfcs_sample() -> None:
    body = SAMPLE[20:-8]
    crc = zlib.crc32(SAMPLE[:20] + body) ^ stun.FINGERPRINT_XOR
    assert crc.to_bytes(4) == SAMPLE[-4:]


def test_the_integrity_is_that_of_the_rfcs_sample() -> None:
    at = SAMPLE.index(bytes.fromhex("00080014"))
    # The sample has a short-term credential: its key is the password itself.
    assert stun._integrity(1, SAMPLE[8:20], SAMPLE[20:at], b"VOkJxbRl1RmTxUk/WvJxBt") == SAMPLE[at + 4 : at + 24]


def test_error_code_software_and_relay_port_are_read() -> None:
    transaction, request = stun.encode(Method.ALLOCATE, [])
    error = stun._attribute(Attribute.ERROR_CODE, b"\0\0\x04\x56quota")
    software = stun._attribute(Attribute.SOFTWARE, b"Coturn-4.6.1 'Gorst'")
    refused = stun.decode(response_to(request, 0x0113, error, software))
    assert (refused.transaction, refused.success, refused.error) == (transaction, False, 486)
    assert refused.software == "Coturn-4.6.1 'Gorst'"
    relayed = stun._attribute(Attribute.XOR_RELAYED_ADDRESS, b"\0\x01" + (50000 ^ 0x2112).to_bytes(2) + bytes(4))
    assert stun.decode(response_to(request, 0x0103, relayed)).relay_port == 50000


def test_an_answer_signed_with_another_secret_is_no_answer() -> None:
    _, request = stun.encode(Method.ALLOCATE, [], CREDENTIALS)
    for credentials in (CREDENTIALS, Credentials("user", "other", b"realm", b"nonce")):
        body = stun._integrity(0x0103, request[8:20], b"", credentials.key)
        answer = response_to(request, 0x0103, stun._attribute(Attribute.MESSAGE_INTEGRITY, body))
        if credentials is CREDENTIALS:
            assert stun.decode(answer, CREDENTIALS).success
        else:
            with pytest.raises(MalformedError):
                stun.decode(answer, CREDENTIALS)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_response_or_refused(data: bytes) -> None:
    for message in (data, struct.pack("!HHI", 0x0101, len(data) // 4 * 4, stun.COOKIE) + bytes(12) + data):
        try:
            response = stun.decode(message)
        except MalformedError:
            continue
        assert isinstance(response.error, int)
        assert isinstance(response.relay_port, int)
        assert isinstance(response.software, str)
