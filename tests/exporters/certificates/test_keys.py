"""What a server shows of itself before it turns us away, and the certificates it has beside the one it shows."""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.certificates.client import CertificateClient
from lab.servers.pki import Authority, Issued, new_key
from tests.exporters.certificates.fakes import HOST, server, silence, target
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


def with_both(issued: Sequence[Issued], version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(issued):
            file = Path(folder, f"{number}.pem")
            file.write_bytes(one.key_pem + one.chain_pem)
            context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_certificates_of_a_server_are_seen_where_asked_for(
    root: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    old, new = root.issue(HOST, days=-1, key=new_key(2048)), root.issue(HOST, days=90)
    (tmp_path / "rsa.pem").write_bytes(old.chain_pem)
    async with server(silence, with_both((new, old), version)) as port:
        wanted = replace(target(port, ca=tmp_path / "root.pem"), file=tmp_path / "rsa.pem")
        alone = await CertificateClient().observe(wanted, None)
        both = await CertificateClient().observe(replace(wanted, keys=("rsa", "ecdsa")), None)
    assert [chain.reasons for chain in alone.chains.values()] == [()]
    assert alone.serves_file is False
    assert both.failure is None
    assert {key: (chain.reasons, chain.certificates[0].key) for key, chain in both.chains.items()} == {
        "rsa": (("expired",), "rsa"),
        "ecdsa": ((), "ecdsa"),
    }
    assert both.serves_file is True


@asynccontextmanager
async def s_server(folder: Path, issued: Issued, *options: str) -> AsyncIterator[int]:
    """Run OpenSSL's own server, which says why it refuses a client; yields its port."""
    (folder / "server.pem").write_bytes(issued.key_pem + issued.chain_pem)
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.pem", *options),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout
        while not (found := re.match(r"ACCEPT \S+:(\d+)", (await process.stdout.readline()).decode())):
            pass
        yield int(found[1])
    finally:
        process.kill()
        await process.wait()


async def test_a_kind_of_key_that_a_server_lacks_is_a_failure_and_costs_no_other_dates(
    root: Authority, tmp_path: Path
) -> None:
    async with s_server(tmp_path, root.issue(HOST)) as port:
        wanted = replace(target(port, ca=tmp_path / "root.pem"), keys=("rsa", "ecdsa"))
        seen = await CertificateClient().observe(wanted, None)
        with pytest.raises(TargetError, match="asked for its rsa certificate"):
            await CertificateClient().observe(replace(wanted, keys=("rsa",)), None)
    assert list(seen.chains) == ["ecdsa"]
    assert seen.failure is not None
    assert seen.failure[0] == "handshake"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_server_that_wants_a_certificate_of_ours_shows_its_own(
    root: Authority, tmp_path: Path, version: str
) -> None:
    async with s_server(tmp_path, root.issue(HOST), "-Verify", "1", "-CAfile", "root.pem", version) as port:
        seen = await CertificateClient().observe(target(port, ca=tmp_path / "root.pem"), None)
    assert seen.failure is None
    assert seen.chains[""].reasons == ()
    assert seen.chains[""].first.not_after > time.time()
