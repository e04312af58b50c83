"""The certificate exporter against real servers, compared with what `openssl` says of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from exporters.certificates.client import CertificateClient
from exporters.certificates.config import Target
from exporters.certificates.handshake import WEAK
from lab.running.server import Workspace
from lab.scraping import ScrapedPage
from lab.servers.certified import CertifiedCoturn, CertifiedHaproxy, CertifiedPostgresql, CertifiedProsody
from lab.servers.exporters import ExporterProcess
from lab.servers.pki import Authority, Issued, new_key
from lab.servers.prosody import DOMAIN
from tests.live import openssl
from toolkit.values import Address, is_ip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.servers.certified import Certified

ENDPOINTS = ("haproxy", "prosody-c2s", "prosody-s2s", "coturn", "postgresql", "file")
SERVED = ENDPOINTS[:-1]
EXPECTED = {
    "valid": "ok",
    "expired": "expired",
    "expiring in 13 days": "ok",
    "expiring in 15 days": "ok",
    "not yet valid": "not_yet_valid",
    "wrong host": "wrong_host",
    "unknown issuer": "unknown_issuer",
    "expired intermediate": "expired",
}


class Metrics(ScrapedPage):
    """One answer of /probe."""

    def reasons(self) -> list[str]:
        return list(self.by("ssl_certificate_verification_info", "reason"))

    def chain(self) -> tuple[openssl.One, ...]:
        before, after = (
            {
                int(s.labels["position"]): (s.labels["serial"], s.value)
                for s in self.samples
                if s.name == f"ssl_certificate_not_{which}_timestamp_seconds"
            }
            for which in ("before", "after")
        )
        return tuple(openssl.One(after[i][0], before[i][1], after[i][1]) for i in sorted(after))


@dataclass
class Stage:
    """All servers with one certificate, and the exporter that looks at them on request."""

    lab: Workspace
    root: Authority
    servers: tuple[Certified, ...]
    ports: dict[str, tuple[str, int]]
    exporter: ExporterProcess

    @property
    def ca(self) -> Path:
        return self.lab.directory / "root.pem"

    @property
    def file(self) -> Path:
        return self.lab.directory / "fullchain.pem"

    def issue(self, condition: str) -> Issued:
        root = Authority("Somebody Else") if condition == "unknown issuer" else self.root
        intermediate = Authority("Intermediate", root, days=-2 if condition == "expired intermediate" else 1000)
        name = "wrong.example" if condition == "wrong host" else DOMAIN
        days = {"expired": -3.0, "expiring in 13 days": 13.0, "expiring in 15 days": 15.0}.get(condition, 90.0)
        return intermediate.issue(name, days=days, begins=2 if condition == "not yet valid" else -400)

    def issue_for(self, common_name: str, names: list[str]) -> Issued:
        """Issue a certificate with this common name, "" for none, and alternative names, if there are any."""
        key = new_key()
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = x509.CertificateBuilder().subject_name(x509.Name(subject)).public_key(key.public_key())
        if names:
            general = [x509.IPAddress(ip_address(name)) if is_ip(name) else x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=not common_name)
        return Issued(self.root.sign(builder, days=90), key)

    def install(self, issued: Issued) -> None:
        for server in self.servers:
            server.install(issued)
        self.file.write_bytes(issued.chain_pem)

    def reload(self, issued: Issued) -> None:
        """Let every server reload, and wait until each serves the certificate."""
        for server in self.servers:
            server.reload()
        serial = f"{issued.certificate.serial_number:X}"
        for endpoint in SERVED:
            until = time.monotonic() + 20
            while not any(one.serial.lstrip("0") == serial for one in self.openssl(endpoint).chain[:1]):
                assert time.monotonic() < until, f"{endpoint} never served the new certificate"

    def reload_exporter(self) -> None:
        """Let the exporter read its file again, and wait until it has."""
        pattern = "certificate_exporter_config_last_reload_success_timestamp_seconds"
        before = self.metrics()(pattern)
        os.kill(self.exporter.pid, signal.SIGHUP)
        while self.metrics()(pattern) == before:
            time.sleep(0.02)

    def metrics(self) -> Metrics:
        with urllib.request.urlopen(f"{self.exporter.url}/metrics", timeout=20) as answer:
            return Metrics(answer.read().decode())

    def openssl(self, endpoint: str) -> openssl.Seen:
        if endpoint == "file":
            return openssl.filed(self.file, DOMAIN, self.ca)
        kind, port = self.ports[endpoint]
        return openssl.served(kind, port, DOMAIN, self.ca)

    def probe(self, endpoint: str) -> Metrics:
        with urllib.request.urlopen(f"{self.exporter.url}/probe?target={endpoint}", timeout=20) as answer:
            return Metrics(answer.read().decode())


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Workspace() as lab:
        haproxy, prosody = CertifiedHaproxy(lab), CertifiedProsody(lab)
        coturn, postgresql = CertifiedCoturn(lab), CertifiedPostgresql(lab)
        ports = {
            "haproxy": ("tls", haproxy.tls_port),
            "prosody-c2s": ("xmpp-client", prosody.tls_port),
            "prosody-s2s": ("xmpp-server", prosody.s2s_port),
            "coturn": ("tls", coturn.tls_port),
            "postgresql": ("postgresql", postgresql.tls_port),
        }
        config = lab.directory / "certificates.yml"
        # Every hour: what a test sees is what it asked for.
        exporter = ExporterProcess(
            lab, "certificates", "node1", lambda: [f"--config.file={config}", "--probe.interval=1h"]
        )
        stage = Stage(lab, Authority("Root"), (haproxy, prosody, coturn, postgresql), ports, exporter)
        stage.ca.write_bytes(stage.root.pem)
        stage.install(stage.issue("valid"))
        for server in stage.servers:
            server.start()
        files = dict(zip(SERVED, (haproxy, prosody, prosody, coturn, postgresql), strict=True))
        common: dict[str, object] = {"ca": "root.pem", "timeout": "10s"}
        targets = [
            common
            | {"name": name, "kind": kind, "address": f"127.0.0.1:{port}", "server_name": DOMAIN}
            | {"file": str(files[name].certificate)}
            for name, (kind, port) in ports.items()
        ]
        targets.append(common | {"name": "file", "kind": "file", "paths": ["fullchain.pem"], "host_names": [DOMAIN]})
        old: dict[str, object] = {
            "name": "old-tls",
            "kind": "tls",
            "address": f"127.0.0.1:{haproxy.old_port}",
            "server_name": DOMAIN,
        }
        targets.append(common | old)
        config.write_text(yaml.safe_dump({"targets": targets}))
        exporter.start()
        yield stage


@pytest.fixture(scope="module", params=EXPECTED)
def condition(stage: Stage, request: pytest.FixtureRequest) -> str:
    name: str = request.param
    issued = stage.issue(name)
    stage.install(issued)
    stage.reload(issued)
    return name


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_metric_is_what_openssl_says(stage: Stage, condition: str, endpoint: str) -> None:
    before = time.time()
    metrics = stage.probe(endpoint)
    after = time.time()
    judge = stage.openssl(endpoint)

    assert judge.reason == EXPECTED[condition]
    assert metrics.reasons() == [judge.reason]
    assert metrics("ssl_certificate_trusted") == (judge.reason == "ok")
    assert metrics("ssl_certificate_probe_success") == 1
    assert metrics.chain() == judge.chain
    assert len(judge.chain) == 2
    first = min(one.not_after for one in judge.chain)
    days = metrics("ssl_certificate_expiry_days")
    assert (first - after) / 86400 <= days <= (first - before) / 86400
    assert (days < 14) == (condition in {"expired", "expiring in 13 days", "expired intermediate"})
    assert (days < 0) == (condition in {"expired", "expired intermediate"})


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("self_signed", []),
        ("weak_key", ["-newkey", "rsa:1024", "-CA", "root.pem", "-CAkey", "root.key"]),
        ("weak_signature", ["-sha1", "-CA", "root.pem", "-CAkey", "root.key"]),
        ("ok", ["-CA", "root.pem", "-CAkey", "root.key"]),
    ],
)
def test_a_weak_certificate_made_by_openssl_is_what_openssl_says(stage: Stage, reason: str, options: list[str]) -> None:
    (stage.lab.directory / "root.key").write_bytes(Issued(stage.root.certificate, stage.root.key).key_pem)
    key = [] if "-newkey" in options else ["-newkey", "rsa:2048"]
    subject = ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN}", "-days", "40", "-nodes"]
    files = ["-keyout", "file.key", "-out", str(stage.file)]
    command = ["openssl", "req", "-x509", *key, *options, *subject, *files]
    subprocess.run(command, cwd=stage.lab.directory, check=True, capture_output=True)

    judge, metrics = stage.openssl("file"), stage.probe("file")
    assert judge.reason == reason
    assert metrics.reasons() == [judge.reason]
    assert metrics("ssl_certificate_trusted") == (reason == "ok")
    assert metrics.chain() == judge.chain


@pytest.mark.parametrize("endpoint", SERVED)
def test_a_renewal_shows_until_the_server_is_reloaded(stage: Stage, endpoint: str) -> None:
    old, new = stage.issue("expiring in 13 days"), stage.issue("valid")
    stage.install(old)
    stage.reload(old)
    assert stage.probe(endpoint)("ssl_certificate_served_matches_file") == 1

    stage.install(new)
    renewed = stage.probe(endpoint)
    assert renewed("ssl_certificate_served_matches_file") == 0
    assert renewed("ssl_certificate_expiry_days") < 14

    stage.reload(new)
    reloaded = stage.probe(endpoint)
    assert reloaded("ssl_certificate_served_matches_file") == 1
    assert reloaded("ssl_certificate_expiry_days") > 14


def test_a_server_that_accepts_tls_1_1_is_weak(stage: Stage) -> None:
    weak, good = stage.probe("old-tls"), stage.probe("haproxy")

    assert "weak_protocol" in weak.reasons()
    assert weak("ssl_certificate_trusted") == 0
    assert "weak_protocol" not in good.reasons()


def test_a_weak_handshake_is_accepted_where_openssl_says_so(stage: Stage) -> None:
    for endpoint in SERVED:
        kind, port = stage.ports[endpoint]
        seen = stage.probe(endpoint)
        for offer, flags in openssl.WEAK.items():
            accepted = seen("ssl_certificate_weak_handshake_accepted", offer=offer)
            assert accepted == openssl.accepts(kind, port, DOMAIN, flags), (endpoint, offer)


async def test_a_coturn_that_is_silent_to_old_tls_does_not_accept_it() -> None:
    with Workspace() as lab:
        coturn = CertifiedCoturn(lab, "coturn-strict", "--no-tlsv1", "--no-tlsv1_1", "--cipher-list=ECDHE+AESGCM")
        coturn.install(Authority("Root").issue(DOMAIN))
        coturn.start()
        target = Target("turn", "tls", Address("127.0.0.1", coturn.tls_port), DOMAIN, timeout=10)
        assert (await CertificateClient().observe(target, None)).weak == dict.fromkeys(WEAK, False)


def test_a_stopped_server_keeps_its_last_known_dates(stage: Stage) -> None:
    seen = stage.probe("coturn")
    coturn = next(server for server in stage.servers if isinstance(server, CertifiedCoturn))

    coturn.stop()
    down = stage.probe("coturn")

    assert down("ssl_certificate_probe_success") == 0
    assert down.by("ssl_certificate_probe_info", "reason") == {"refused": 1}
    assert down.chain() == seen.chain()
    assert down("ssl_certificate_expiry_days") == pytest.approx(seen("ssl_certificate_expiry_days"), abs=1)
    coturn.start()
    assert stage.probe("coturn")("ssl_certificate_probe_success") == 1


LIBPQ = [
    # subject's common name, alternative names, host
    (DOMAIN, [], DOMAIN),
    (DOMAIN, [], "other.example"),
    (DOMAIN.upper(), [], DOMAIN),
    (DOMAIN, ["other.example"], DOMAIN),
    (DOMAIN, ["127.0.0.1"], DOMAIN),
    ("*.example", [], "db.example"),
    ("*.example.com", [], "a.db.example.com"),
    ("", ["*.example"], "db.example"),
    ("127.0.0.1", [], "127.0.0.1"),
    ("127.0.0.1", [DOMAIN], "127.0.0.1"),
    ("127.0.0.1", ["127.0.0.2"], "127.0.0.1"),
    ("", ["127.0.0.1"], "127.0.0.1"),
]


def test_a_postgresql_certificate_is_valid_for_the_names_that_libpq_accepts(stage: Stage) -> None:
    postgresql = next(server for server in stage.servers if isinstance(server, CertifiedPostgresql))
    config = stage.lab.directory / "certificates.yml"
    original = config.read_text()
    address = f"127.0.0.1:{postgresql.tls_port}"
    try:
        for common_name, names, host in LIBPQ:
            postgresql.install(stage.issue_for(common_name, names))
            postgresql.reload()
            target = {"kind": "postgresql", "address": address, "host_names": [host], "ca": "root.pem", "name": "libpq"}
            config.write_text(yaml.safe_dump({"targets": [target]}))
            stage.reload_exporter()
            to = f"host={host} hostaddr=127.0.0.1 port={postgresql.tls_port} user=nobody dbname=none connect_timeout=10"
            command = ["psql", "-c", "", f"{to} sslmode=verify-full sslrootcert={stage.ca}"]
            env = os.environ | {"PGPASSWORD": "x"}
            said = subprocess.run(command, capture_output=True, text=True, check=False, env=env).stderr
            refused = "certificate" in said
            assert refused or "nobody" in said, said  # what it says once the certificate is accepted
            wrong = "wrong_host" in stage.probe("libpq").reasons()
            assert wrong == refused, (common_name, names, host, said)
    finally:
        config.write_text(original)
        stage.reload_exporter()
        issued = stage.issue("valid")
        stage.install(issued)
        stage.reload(issued)
