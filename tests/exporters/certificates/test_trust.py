"""What is wrong with a chain, as a TLS server in this process serves it; OpenSSL's verdict on real ones: tests/live."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from exporters.certificates.certificate import Certificate, parse_file
from exporters.certificates.client import CertificateClient
from exporters.certificates.handshake import BELOW_1_2, CIPHER
from exporters.certificates.trust import Authorities, is_for_host, judge
from lab.servers.pki import Authority, Issued, new_key
from tests.exporters.certificates.fakes import HOST, server, silence, target, tls
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.certificates.snapshot import Chain, Observation


async def observe(issued: Issued, ca: Path, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> Observation:
    async with server(silence, tls(issued, minimum=minimum)) as port:
        return await CertificateClient().observe(target(port, ca=ca), None)


async def served(issued: Issued, tmp_path: Path) -> Chain:
    return (await observe(issued, tmp_path / "root.pem")).chains[""]


async def test_a_small_rsa_key_is_weak(root: Authority, tmp_path: Path) -> None:
    assert (await served(root.issue(HOST, key=new_key(1024)), tmp_path)).reasons == ("weak_key",)
    assert (await served(root.issue(HOST, key=new_key(2048)), tmp_path)).reasons == ()


def test_a_sha1_signature_is_weak_except_on_a_root(tmp_path: Path) -> None:
    # By openssl: the library that issues the other certificates no longer signs with SHA-1.
    for name, signer in (("root", []), ("leaf", ["-CA", "root.pem", "-CAkey", "root.key"])):
        command = ["openssl", "req", "-x509", "-sha1", "-newkey", "rsa:2048", "-nodes", "-days", "90", *signer]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{HOST}"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([*command, *names, *files], cwd=tmp_path, check=True, capture_output=True)
    chain = parse_file(
        (tmp_path / "leaf.pem").read_bytes() + (tmp_path / "root.pem").read_bytes(), at_most=2
    ).certificates
    store = Authorities().store(tmp_path / "root.pem")

    assert judge(chain, store, [HOST]).reasons == ("weak_signature",)
    assert judge(chain[1:], store, [HOST]).reasons == ()


async def test_a_self_signed_certificate_is_distinguished_from_an_unknown_issuer(
    root: Authority, tmp_path: Path
) -> None:
    lonely = Authority(HOST)
    chain = await served(Issued(lonely.certificate, lonely.key), tmp_path)
    assert chain.reasons is not None
    assert chain.reasons[0] == "self_signed"
    assert (await served(Authority("Else").issue(HOST), tmp_path)).reasons == ("unknown_issuer",)
    assert root.certificate


async def test_a_chain_without_its_intermediate_has_an_unknown_issuer(root: Authority, tmp_path: Path) -> None:
    issued = Authority("Intermediate", root).issue(HOST)
    assert (await served(Issued(issued.certificate, issued.key), tmp_path)).reasons == ("unknown_issuer",)


async def test_several_faults_are_all_named(root: Authority, tmp_path: Path) -> None:
    chain = await served(root.issue("other.example", days=-1, key=new_key(1024)), tmp_path)
    assert chain.reasons == ("expired", "wrong_host", "weak_key")


async def test_a_certificate_for_clients_only_has_the_wrong_purpose(root: Authority, tmp_path: Path) -> None:
    key = new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(root.name)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    assert "wrong_purpose" in ((await served(Issued(root.sign(builder, days=9), key), tmp_path)).reasons or ())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_tls_below_1_2_is_weak(root: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "root.pem"
    weak = await observe(root.issue(HOST), ca, ssl.TLSVersion.TLSv1)
    good = await observe(root.issue(HOST), ca)

    assert (weak.weak[BELOW_1_2], weak.chains[""].reasons) == (True, ("weak_protocol",))
    assert (good.weak[BELOW_1_2], good.chains[""].reasons) == (False, ())


@pytest.mark.parametrize(
    ("ciphers", "weak"),
    [
        ("ECDHE+AESGCM", False),
        ("ECDHE+CHACHA20", False),
        ("ECDHE-RSA-AES256-SHA384", True),  # CBC
        ("AES128-GCM-SHA256", True),  # no forward secrecy
        ("ECDHE+AESGCM:ECDHE-RSA-AES128-SHA", True),
    ],
)
async def test_a_server_that_accepts_a_weak_cipher_suite_is_noticed_and_tls_1_3_does_not_hide_it(
    ciphers: str, weak: object, root: Authority, tmp_path: Path
) -> None:
    context = tls(root.issue(HOST, key=new_key(2048)))
    context.set_ciphers(ciphers)
    async with server(silence, context) as port:
        seen = await CertificateClient().observe(target(port, ca=tmp_path / "root.pem"), None)
    assert seen.weak == {BELOW_1_2: False, CIPHER: weak}


async def test_what_was_tried_within_the_hour_is_not_tried_again(root: Authority, tmp_path: Path) -> None:
    handshakes = []
    context = tls(root.issue(HOST))
    context.sni_callback = lambda *_: handshakes.append(1)
    client = CertificateClient()
    async with server(silence, context) as port:
        one = target(port, ca=tmp_path / "root.pem")
        first = await client.observe(one, None)
        tried = len(handshakes)
        second = await client.observe(one, first)
    assert second.weak == first.weak
    assert len(handshakes) == tried + 1


async def test_an_expired_cross_signature_that_no_path_needs_does_not_count(root: Authority, tmp_path: Path) -> None:
    issued = Authority("Intermediate", root).issue(HOST, days=90)
    old_root = Authority("Old Root")
    builder = x509.CertificateBuilder().subject_name(root.name).public_key(root.key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    crossed = old_root.sign(builder, days=-10)
    chain = await served(Issued(issued.certificate, issued.key, (*issued.above, crossed)), tmp_path)

    assert chain.reasons == ()
    assert len(chain.certificates) == 3
    assert chain.first.not_after > time.time() + 89 * 86400


async def test_dates_are_shown_even_if_the_ca_file_cannot_be_read(tmp_path: Path) -> None:
    seen = await observe(Authority("Root").issue(HOST), tmp_path / "missing.pem")

    assert seen.failure is not None
    assert seen.failure[0] == "bad_ca"
    assert seen.chains[""].reasons is None
    assert seen.chains[""].first.not_after > time.time()


def test_a_renewed_ca_file_is_read_again(tmp_path: Path) -> None:
    ca, authorities = tmp_path / "ca.pem", Authorities()
    old, new = Authority("Root"), Authority("Root")
    ca.write_bytes(old.pem)
    chain = parse_file(new.issue(HOST).chain_pem, at_most=9).certificates
    assert judge(chain, authorities.store(ca), [HOST]).reasons != ()
    (tmp_path / "next.pem").write_bytes(new.pem)
    (tmp_path / "next.pem").replace(ca)
    assert judge(chain, authorities.store(ca), [HOST]).reasons == ()


def test_an_empty_ca_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(TargetError, match="it holds no certificate"):
        Authorities().store(tmp_path / "ca.pem")


@pytest.mark.timeout(20)  # OpenSSL waits for the writer of a FIFO
def test_a_ca_that_is_no_regular_file_is_reported_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(TargetError, match="not a regular file"):
        Authorities().store(tmp_path / "ca.pem")


def test_a_ca_file_that_openssl_refuses_is_reported_for_what_it_is(tmp_path: Path) -> None:
    ca, root = tmp_path / "ca.pem", Authority("Root")
    ca.write_bytes(root.certificate.public_bytes(Encoding.DER))
    with pytest.raises(TargetError, match="not in PEM; convert them with openssl x509 -inform der"):
        Authorities().store(ca)
    ca.write_bytes(root.pem + root.pem.replace(b"MII", b"!!!", 1))
    with pytest.raises(TargetError, match="1 of its certificates cannot be read, and OpenSSL then trusts none"):
        Authorities().store(ca)


@pytest.mark.parametrize(
    ("names", "host", "matches"),
    [
        (["commeazy.com"], "COMMEAZY.com", True),
        (["commeazy.com"], "commeazy.com.", True),
        (["commeazy.com"], "xmpp.commeazy.com", False),
        (["*.commeazy.com"], "xmpp.commeazy.com", True),
        (["*.commeazy.com"], "commeazy.com", False),
        (["*.commeazy.com"], "a.b.commeazy.com", False),
        (["x*.commeazy.com"], "xmpp.commeazy.com", False),
        (["*"], "localhost", False),
        (["*.example"], "t.example", False),
        (["10.0.1.10"], "10.0.1.10", True),
        (["2001:db8::1"], "2001:0DB8:0::1", True),
        (["10.0.1.10"], "10.0.1.11", False),
    ],
)
def test_host_names_match_as_rfc_9525_has_it(names: list[str], host: str, *, matches: bool) -> None:
    issued = Authority("Root").issue(*names, common_name="commeazy.com")
    assert is_for_host(Certificate.load(issued.certificate.public_bytes(Encoding.DER)), host) == matches


def test_the_common_name_is_no_host_name() -> None:
    issued = Authority("Root").issue("other.example", common_name=HOST)
    assert not is_for_host(Certificate.load(issued.certificate.public_bytes(Encoding.DER)), HOST)
