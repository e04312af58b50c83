"""Certificates that are not for servers, in every place of a path, against `openssl verify -purpose sslserver`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from exporters.certificates.certificate import parse_file
from exporters.certificates.trust import Authorities, judge

if TYPE_CHECKING:
    from pathlib import Path

HOST = "commeazy.com"
CA = ["basicConstraints=critical,CA:TRUE"]
# What each certificate of the path says of its use, and the trust that the CA file sets.
PATHS: dict[str, dict[str, list[str]]] = {
    "nothing is said": {},
    "good": {"leaf": ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth"]},
    "any extended use": {"leaf": ["extendedKeyUsage=anyExtendedKeyUsage"]},
    "leaf for clients": {"leaf": ["extendedKeyUsage=clientAuth"]},
    "leaf signs certificates only": {"leaf": ["keyUsage=keyCertSign"]},
    "leaf signs revocations only": {"leaf": ["keyUsage=cRLSign"]},
    "leaf agrees on keys": {"leaf": ["keyUsage=keyAgreement"]},
    "intermediate for clients": {"intermediate": ["extendedKeyUsage=clientAuth"]},
    "intermediate may not sign": {"intermediate": ["keyUsage=digitalSignature"]},
    "intermediate is none": {"intermediate": ["basicConstraints=critical,CA:FALSE"]},
    "root for clients": {"root": ["extendedKeyUsage=clientAuth"]},
    "trusted for servers": {"trust": ["-addtrust", "serverAuth"]},
    "trusted for clients": {"trust": ["-addtrust", "clientAuth"]},
    "rejected for servers": {"trust": ["-addreject", "serverAuth"]},
}
ACCEPTED = {"nothing is said", "good", "leaf agrees on keys", "trusted for servers"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *command], cwd=folder, capture_output=True, text=True, check=False)


def issue(folder: Path, name: str, issuer: str | None, extensions: list[str]) -> None:
    signer = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else []
    options = [word for extension in extensions for word in ("-addext", extension)]
    made = run(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"),
        *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *signer, *options),
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("path", PATHS)
def test_a_certificate_that_is_not_for_servers_is_found_where_openssl_finds_it(tmp_path: Path, path: str) -> None:
    said = PATHS[path]
    names = [f"subjectAltName=DNS:{HOST}", "basicConstraints=critical,CA:FALSE"]
    intermediate = said.get("intermediate", [])
    issue(tmp_path, "root", None, [*CA, *said.get("root", [])])
    issue(
        tmp_path, "intermediate", "root", intermediate if "basicConstraints" in str(intermediate) else CA + intermediate
    )
    issue(tmp_path, "leaf", "intermediate", names + said.get("leaf", []))
    trust = said.get("trust")
    if trust:
        assert run(tmp_path, "x509", "-in", "root.pem", *trust, "-trustout", "-out", "ca.pem").returncode == 0
    else:
        (tmp_path / "ca.pem").write_bytes((tmp_path / "root.pem").read_bytes())
    purpose = ("verify", "-CAfile", "ca.pem", "-untrusted", "intermediate.pem", "-purpose", "sslserver", "leaf.pem")
    accepted = run(tmp_path, *purpose).returncode == 0
    chain = b"".join((tmp_path / f"{name}.pem").read_bytes() for name in ("leaf", "intermediate"))
    found = judge(parse_file(chain, at_most=2).certificates, Authorities().store(tmp_path / "ca.pem"), [HOST])
    assert (found.reasons == ()) == accepted, found.reasons
    assert accepted == (path in ACCEPTED)


def test_a_cas_own_file_is_not_judged_as_a_servers(tmp_path: Path) -> None:
    issue(tmp_path, "root", None, [*CA, "keyUsage=critical,keyCertSign"])
    store = Authorities().store(tmp_path / "root.pem")
    chain = parse_file((tmp_path / "root.pem").read_bytes(), at_most=2).certificates
    assert judge(chain, store, []).reasons == ()
    assert judge(chain, store, ["root"]).reasons == ("wrong_purpose", "wrong_host")
