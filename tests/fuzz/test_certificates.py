"""Made-up input for what reads certificates, STARTTLS answers and certificate files, as a stranger may send them.

Inputs are recorded ones that were changed at random, and random ones; FUZZ is how many each parser gets. The seed is
fixed, so a failure comes again.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from OpenSSL import crypto

from exporters.certificates import der
from exporters.certificates.certificate import Certificate, parse_file
from exporters.certificates.collector import label
from exporters.certificates.starttls import may_proceed, offers_starttls
from exporters.certificates.trust import judge
from lab.running.workspace import ROOT
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = int(os.environ.get("FUZZ", "300"))
SEED = 20261128
FILES = [path.read_bytes() for path in sorted((ROOT / "tests/recorded/certificates").iterdir())]
ANSWERS = [
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'><stream:features/>",
    b"<stream:stream><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
    b"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
    b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
]


def changed(recorded: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield COUNT inputs: a recorded one with a few bytes replaced, removed or doubled, or random bytes."""
    for _ in range(COUNT):
        data = bytearray(chance.choice(recorded))
        for _ in range(chance.randint(0, 6)):
            at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 8, 100))
            piece = bytes(data[at : at + length])
            data[at : at + length] = chance.choice((b"", piece * 2, chance.randbytes(length)))
        yield bytes(data) if chance.random() < 0.95 else chance.randbytes(chance.randrange(400))


def test_a_certificate_file_is_read_or_refused() -> None:
    read = 0
    for data in changed(FILES, random.Random(SEED)):
        with suppress(TargetError):
            contents = parse_file(data, at_most=300)
            judge(contents.certificates, crypto.X509Store(), ["weird.example"])
            assert all(label(one.subject_cn).isprintable() for one in contents.certificates)
            read += 1
    assert 0 < read < COUNT, "neither all nor none: the changes are about right"


def test_der_is_walked_or_refused() -> None:
    recorded = [one.der for data in FILES for one in _certificates(data)]
    for data in changed(recorded, random.Random(SEED)):
        with suppress(ValueError):
            der.parts(data)
        der.of_pkcs7(data)


def _certificates(data: bytes) -> tuple[Certificate, ...]:
    try:
        return parse_file(data, at_most=300).certificates
    except TargetError:
        return ()


@pytest.mark.parametrize("understand", [offers_starttls, may_proceed])
def test_an_answer_to_starttls_is_understood_or_refused(understand: Callable[[bytes], bool | None]) -> None:
    for data in changed(ANSWERS, random.Random(SEED)):
        try:
            assert understand(data) in {True, False, None}
        except TargetError as error:
            assert str(error).isprintable()  # noqa: PT017 - many inputs, and either outcome is right
