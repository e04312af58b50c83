"""Certificates and files that are odd, one by one, against what OpenSSL says of the same file."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from OpenSSL import crypto

from exporters.certificates.certificate import Certificate, parse_file
from exporters.certificates.trust import judge
from toolkit.scrape import TargetError

RECORDED = Path(__file__).resolve().parents[2] / "recorded/certificates"
FILES = sorted(path.name for path in RECORDED.iterdir())
# `openssl x509` reads neither; OpenSSL's commands for them do.
COMMANDS = {
    "c-p7.pem": ("pkcs7", "-print_certs"),
    "c-p7.der": ("pkcs7", "-print_certs", "-inform", "der"),
    "c-p12-legacy.p12": ("pkcs12", "-legacy", "-nokeys", "-passin", "pass:"),
}
# OpenSSL reads the first certificate only, and these have another behind it that it cannot read. HAProxy refuses them.
BROKEN_BEHIND = {"c-second-broken.pem"}


def openssl(*command: str, stdin: bytes | None = None) -> str | None:
    """Run a command of openssl; None if it fails."""
    done = subprocess.run(["openssl", *command], input=stdin, capture_output=True, check=False)
    return None if done.returncode else done.stdout.decode("utf-8", "replace")


def first_by_openssl(path: Path) -> dict[str, str] | None:
    """Give what OpenSSL prints of the first certificate; None if it reads none, or no date of it."""
    pem: str | None = None
    if command := COMMANDS.get(path.name):
        pem = openssl(*command, "-in", str(path))
        assert pem, "OpenSSL reads it"
    options = ("-noout", "-serial", "-startdate", "-enddate", "-dateopt", "iso_8601", "-passin", "pass:")
    said = openssl("x509", *options, *(() if pem else ("-in", str(path))), stdin=pem.encode() if pem else None)
    if said is None or "Bad time value" in said:
        return None
    said = said.replace("\\\n", "")  # how OpenSSL breaks a long serial number
    return dict(line.split("=", 1) for line in said.splitlines())


def seconds(printed: str) -> float:
    """Read a date of `-dateopt iso_8601`, also of the year 0."""
    found = re.fullmatch(r" *(\d{1,4})-(\S+ \d\d:\d\d:\d\d)(?:\.\d+)?Z", printed)
    assert found, printed
    year = int(found[1])
    if year == 0:  # Python's calendar begins with the year 1, and repeats after 400
        return datetime.fromisoformat(f"0400-{found[2]}Z").timestamp() - 146_097 * 86_400
    return datetime.fromisoformat(f"{year:04}-{found[2]}Z").timestamp()


def read(path: Path) -> Certificate | None:
    try:
        return parse_file(path.read_bytes(), at_most=300).certificates[0]
    except TargetError:
        return None


@pytest.mark.parametrize("name", FILES)
def test_dates_and_serial_are_what_openssl_says(name: str) -> None:
    judged, ours = first_by_openssl(RECORDED / name), read(RECORDED / name)
    if judged is None:
        assert ours is None
        return
    assert ours is not None, "OpenSSL reads it"
    assert ours.serial == judged["serial"]
    assert ours.not_before == seconds(judged["notBefore"])
    assert ours.not_after == seconds(judged["notAfter"])


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("odd-cn-", "odd-subject", "odd-o-"))])
def test_the_common_name_is_what_openssl_says(name: str) -> None:
    ours = read(RECORDED / name)
    if ours is None:
        assert first_by_openssl(RECORDED / name) is None
        return
    said = openssl("x509", "-noout", "-subject", "-in", str(RECORDED / name), "-nameopt", "sep_multiline,utf8,sname")
    assert said is not None
    found = re.search(r"^ *CN=(.*?)\n(?: *[A-Za-z]+=|\Z)", said, re.MULTILINE | re.DOTALL)
    assert ours.common_name == (found[1] if found else "")


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("odd-san-")])
def test_alternative_names_are_what_openssl_says_and_one_that_is_odd_costs_no_other(name: str) -> None:
    ours = read(RECORDED / name)
    assert ours is not None
    said = openssl("x509", "-noout", "-ext", "subjectAltName", "-in", str(RECORDED / name)) or ""
    judged = re.findall(r"DNS:([^,\n]*)", said)
    assert [one.encode("latin-1").decode("utf-8", "replace") for one in ours.dns_names] == [
        one.lower() for one in judged
    ]


def test_an_address_is_the_name_of_a_certificate_that_has_no_other() -> None:
    ours = read(RECORDED / "odd-san-ip-only-nocn.pem")
    assert ours is not None
    assert ours.subject_cn == ours.ip_addresses[0]
    assert ours.common_name == ""


@pytest.mark.parametrize(("name", "weak"), [("key-rsa-pss-sha1", True), ("key-rsapss", False), ("key-sha224", False)])
def test_a_signature_with_sha_1_is_weak_also_as_a_parameter(name: str, *, weak: bool) -> None:
    ours = read(RECORDED / f"{name}.pem")
    assert ours is not None
    assert ours.weakly_signed == weak


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("key-")])
def test_the_kind_and_size_of_a_key_are_what_openssl_says(name: str) -> None:
    ours = read(RECORDED / name)
    assert ours is not None
    said = openssl("x509", "-noout", "-text", "-in", str(RECORDED / name)) or ""
    rsa = re.search(r"Public Key Algorithm: rsa\w*\s*\n.*?Public-Key: \((\d+) bit\)", said, re.DOTALL | re.IGNORECASE)
    assert ours.rsa_bits == (int(rsa[1]) if rsa else None)
    assert (ours.key == "ecdsa") == ("Public Key Algorithm: id-ecPublicKey" in said)


@pytest.mark.parametrize("name", FILES)
def test_what_can_be_read_can_be_judged(name: str) -> None:
    if certificate := read(RECORDED / name):
        judge([certificate], crypto.X509Store(), ["weird.example"])


@pytest.mark.parametrize("name", sorted(BROKEN_BEHIND))
def test_what_is_broken_behind_the_leaf_is_left_out_and_counted(name: str) -> None:
    contents = parse_file((RECORDED / name).read_bytes(), at_most=300)
    assert contents.unreadable == 1
    assert contents.leaf_readable


def test_one_unreadable_certificate_costs_a_bundle_no_other() -> None:
    good = (RECORDED / "c-plain.pem").read_bytes()
    bad = (RECORDED / "odd-cn-utf8-bad.pem").read_bytes()
    refused_by_others = (RECORDED / "odd-cn-printable-star.pem").read_bytes()
    contents = parse_file(good * 70 + bad + refused_by_others + good * 70, at_most=300)
    assert len(contents.certificates) == len(good.split(b"-----END")[:-1]) * 140 + 1
    assert contents.unreadable == 1
    assert not parse_file(bad + good, at_most=9).leaf_readable
