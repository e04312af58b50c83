"""Certificates in files: every format, and every way in which reading a file can fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, pkcs12
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto

from exporters.certificates import files
from exporters.certificates.certificate import parse_file
from exporters.certificates.client import REASONS, CertificateClient
from exporters.certificates.config import FILE, Target
from exporters.certificates.files import read_file, read_leaf
from exporters.certificates.trust import judge
from lab.servers.pki import Authority, Issued
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporters.certificates.snapshot import Observation

HOST = "commeazy.com"


@pytest.fixture(scope="module")
def issued() -> Issued:
    return Authority("Intermediate", Authority("Root")).issue(HOST)


async def observe(*paths: Path, last: Observation | None = None) -> Observation:
    return await CertificateClient().observe(Target("files", FILE, paths=tuple(map(str, paths))), last)


def why(path: Path) -> str:
    with pytest.raises(TargetError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def bundle(issued: Issued, password: bytes | None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"x", issued.key, issued.certificate, list(issued.above), encryption)


def test_every_format_gives_the_same_leaf(issued: Issued, tmp_path: Path) -> None:
    contents = {
        "fullchain.pem": issued.chain_pem,
        "key-first.pem": issued.key_pem + issued.chain_pem,
        "key-last.pem": issued.chain_pem + issued.key_pem,
        "text-around.pem": b"subject=Me\r\n" + issued.chain_pem.replace(b"\n", b"\r\n") + b"the end",
        "certificate.der": issued.certificate.public_bytes(Encoding.DER),
        "bundle.p12": bundle(issued, None),
        "trusted.pem": trusted(issued),
        "nul-behind.pem": issued.chain_pem + bytes(500),  # a file system after a crash
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        chain = read_file(tmp_path / name).certificates
        assert chain[0].der == issued.certificate.public_bytes(Encoding.DER), name
        assert len(chain) == (1 if name in {"certificate.der", "trusted.pem"} else 2), name


def trusted(issued: Issued) -> bytes:
    """Write the leaf with OpenSSL's own settings of trust, as in a CA file."""
    command = ("openssl", "x509", "-addtrust", "serverAuth", "-setalias", "leaf", "-trustout")
    said = subprocess.run(command, input=issued.chain_pem, check=True, capture_output=True).stdout
    assert said.startswith(b"-----BEGIN TRUSTED CERTIFICATE-----")
    return said


@pytest.mark.parametrize(
    ("way", "whole"),
    [
        (lambda key: key, True),
        (lambda key: key.replace(b"\n", b"\r\n"), True),
        (lambda key: key.rstrip(b"\n"), True),
        (lambda key: key[:120] + b"\n", False),
        (lambda key: key.rstrip(b"\n") + key, False),  # as `cat` joins files without a last line end
        (lambda key: key.replace(b"END PRIVATE KEY", b"END EC PRIVATE KEY"), False),
    ],
)
def test_a_private_key_without_its_end_is_reported_beside_the_dates(
    issued: Issued, tmp_path: Path, way: Callable[[bytes], bytes], *, whole: bool
) -> None:
    path = tmp_path / "combined.pem"
    path.write_bytes(issued.chain_pem + way(issued.key_pem))
    said = subprocess.run(("openssl", "pkey", "-in", path, "-noout"), check=False, capture_output=True)
    assert (said.returncode == 0) == whole
    seen = asyncio.run(observe(path))
    assert len(seen.chains) == 1
    assert (seen.failure is None) == whole
    if seen.failure:
        assert seen.failure == ("bad_file", f"{path}: its private key is cut off, or joined to what follows it")


def test_what_is_no_certificate_file_is_reported(issued: Issued, tmp_path: Path) -> None:
    contents = {
        "cut.pem": issued.chain_pem[:200],
        "key.pem": issued.key_pem,
        "empty.pem": b"",
        "text.pem": b"hello",
        "secret.p12": bundle(issued, b"secret"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert why(tmp_path / name) == "bad_file", name


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4))
def test_a_damaged_certificate_is_read_or_reported_whatever_the_damage(
    issued: Issued, changes: list[tuple[int, bytes]]
) -> None:
    der = bytearray(issued.certificate.public_bytes(Encoding.DER))
    for place, damage in changes:
        start = place % len(der)
        der[start : start + len(damage)] = damage
    with suppress(TargetError):
        judge(parse_file(bytes(der), at_most=1).certificates, crypto.X509Store(), [HOST])


def test_limits_are_reported(issued: Issued, tmp_path: Path) -> None:
    many, large = tmp_path / "many.pem", tmp_path / "large.pem"
    many.write_bytes(issued.chain_pem * 200)
    large.write_bytes(b" " * (files.MAX_BYTES + 1))
    assert why(many) == "too_many_certificates"
    assert why(large) == "too_large_file"


def test_a_missing_file_a_folder_and_a_pipe_are_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert why(tmp_path / "missing") == "no_file"
    assert why(tmp_path) == "unreadable_file"
    assert why(tmp_path / "pipe") == "unreadable_file"


def test_a_forbidden_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issued: Issued) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(issued.chain_pem)

    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)  # root may read everything, so no mode would do
    assert why(path) == "unreadable_file"


def test_a_file_is_read_again_when_it_was_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issued: Issued
) -> None:
    path = tmp_path / "combined.pem"
    path.write_bytes(issued.chain_pem[:-100])
    monkeypatch.setattr("exporters.certificates.files.time.sleep", lambda _: path.write_bytes(issued.chain_pem))

    assert len(read_file(path).certificates) == 2


def test_a_file_replaced_while_being_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issued: Issued
) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(issued.chain_pem)
    renewed = Authority("Root").issue(HOST)
    read = files._read
    replaced = threading.Event()

    def replacing(path: Path) -> bytes:
        data = read(path)
        if not replaced.is_set():
            replaced.set()
            (tmp_path / "new").write_bytes(renewed.chain_pem)
            (tmp_path / "new").replace(path)
        return data

    monkeypatch.setattr(files, "_read", replacing)
    assert read_file(path).certificates[0].der == renewed.certificate.public_bytes(Encoding.DER)


async def test_a_symlink_is_followed_to_the_renewed_file(tmp_path: Path, issued: Issued) -> None:
    """As certbot does: archive/ has the files, live/ has links."""
    archive, live = tmp_path / "archive", tmp_path / "live"
    archive.mkdir()
    live.mkdir()
    (archive / "cert1.pem").write_bytes(issued.chain_pem)
    (live / "cert.pem").symlink_to(archive / "cert1.pem")
    assert (await read_leaf(live / "cert.pem")).subject_cn == HOST

    (archive / "cert2.pem").write_bytes(Authority("Root").issue("renewed.example").chain_pem)
    (live / "next").symlink_to(archive / "cert2.pem")
    (live / "next").replace(live / "cert.pem")
    assert (await read_leaf(live / "cert.pem")).subject_cn == "renewed.example"


async def test_two_paths_to_one_file_are_read_once(tmp_path: Path, issued: Issued) -> None:
    (tmp_path / "a.pem").write_bytes(issued.chain_pem)
    (tmp_path / "b.pem").symlink_to(tmp_path / "a.pem")
    assert len((await observe(tmp_path / "*.pem", tmp_path / "a.pem")).chains) == 1


async def test_one_unreadable_file_of_many_keeps_its_last_dates(tmp_path: Path, issued: Issued) -> None:
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    for path in (good, bad):
        path.write_bytes(issued.chain_pem)
    before = await observe(tmp_path / "*.pem")

    bad.write_text("overwritten")
    after = await observe(tmp_path / "*.pem", last=before)

    assert before.failure is None
    assert after.failure is not None
    assert after.failure[0] == "bad_file"
    assert set(after.chains) == {str(good), str(bad)}


async def test_a_pattern_without_a_match_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="nothing matches") as caught:
        await observe(tmp_path / "*.pem")
    assert caught.value.reason == "no_file"


async def test_too_many_files_are_reported(tmp_path: Path) -> None:
    for number in range(files.MAX_FILES + 1):
        (tmp_path / f"{number}.pem").touch()
    with pytest.raises(TargetError, match="split the target") as caught:
        await observe(tmp_path / "*.pem")
    assert caught.value.reason == "too_many_files"


async def test_every_certificate_of_a_ca_bundle_counts(tmp_path: Path) -> None:
    short, long = Authority("Short", days=3), Authority("Long", days=300)
    (tmp_path / "ca.pem").write_bytes(long.pem + short.pem)
    path = str(tmp_path / "ca.pem")
    seen = await CertificateClient().observe(Target("ca", FILE, paths=(path,), ca=tmp_path / "ca.pem"), None)

    assert seen.chains[path].reasons == ()
    assert seen.chains[path].first.not_after == short.certificate.not_valid_after_utc.timestamp()
