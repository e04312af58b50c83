"""The web configuration file: what it opens and closes over real HTTPS, and what it says when it is wrong."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import bcrypt
import pytest

from tests.toolkit.authority import Authority
from tests.toolkit.fakes import Target, process
from toolkit import auth
from toolkit.documents import ConfigError
from toolkit.values import Address
from toolkit.web import Listener, application, serving
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALICE = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
BOB = bcrypt.hashpw(b"builder", bcrypt.gensalt(5)).decode().replace("$2b$", "$2y$")
DORA = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()  # bcrypt reads no more than 72 bytes
SERVER = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = SERVER + "  client_ca_file: ca.crt\n"


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("test authority")


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    authority.write(tmp_path / "ca.crt")
    for name in ("server", "client"):
        authority.issue(name, tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    Authority("stranger").issue("stranger", tmp_path / "stranger.crt", tmp_path / "stranger.key")
    return tmp_path


def load(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text)
    return WebConfig(path)


@asynccontextmanager
async def served(config: WebConfig) -> AsyncIterator[str]:
    async with serving(Listener(application(Target().exporter()), [Address("127.0.0.1", 0)], config)) as (url,):
        yield url


def trusting(folder: Path, *, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.crt", folder / f"{certificate}.key")
    return context


async def status(url: str, path: str = "/metrics", **options: object) -> int:
    """Ask over a new connection; raises what aiohttp raises."""
    async with aiohttp.ClientSession() as client, client.get(url + path, **options) as response:  # type: ignore[arg-type]
        await response.read()
        return response.status


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


async def served_certificate(url: str, context: ssl.SSLContext) -> str:
    """Give the common name of the certificate a new connection meets."""
    host, _, port = url.removeprefix("https://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    peer = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    return str(dict(entry[0] for entry in peer["subject"])["commonName"])


async def test_metrics_are_served_over_https_with_files_relative_to_the_configuration(folder: Path) -> None:
    async with served(load(folder, SERVER)) as url:
        assert url.startswith("https://")
        assert await status(url, ssl=trusting(folder)) == 200
        with pytest.raises(aiohttp.ClientError):
            await status(url.replace("https:", "http:"))


@pytest.mark.parametrize(
    ("maximum", "works"), [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)], ids=["1.2", "1.3"]
)
async def test_min_version_refuses_an_older_client(folder: Path, maximum: ssl.TLSVersion, *, works: bool) -> None:
    client = trusting(folder)
    client.maximum_version = maximum
    async with served(load(folder, SERVER + "  min_version: TLS13\n")) as url:
        if works:
            assert await status(url, ssl=client) == 200
        else:
            with pytest.raises(aiohttp.ClientConnectorError):
                await status(url, ssl=client)


async def test_max_version_is_kept(folder: Path) -> None:
    client = trusting(folder)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    async with served(load(folder, SERVER + "  max_version: TLS12\n")) as url:
        assert await status(url, ssl=trusting(folder)) == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(url, ssl=client)


@pytest.mark.parametrize(
    ("policy", "certificate", "works"),
    [
        ("RequireAndVerifyClientCert", "client", True),
        ("RequireAndVerifyClientCert", None, False),
        ("RequireAndVerifyClientCert", "stranger", False),
        ("VerifyClientCertIfGiven", "client", True),
        ("VerifyClientCertIfGiven", None, True),
        ("VerifyClientCertIfGiven", "stranger", False),
    ],
)
async def test_client_certificates(folder: Path, policy: str, certificate: str | None, *, works: bool) -> None:
    client = trusting(folder, certificate=certificate)
    async with served(load(folder, MUTUAL + f"  client_auth_type: {policy}\n")) as url:
        if works:
            assert await status(url, ssl=client) == 200
        else:
            with pytest.raises(aiohttp.ClientError):
                await status(url, ssl=client)


async def test_a_renewed_certificate_is_served_to_the_next_connection(folder: Path, authority: Authority) -> None:
    async with served(load(folder, SERVER)) as url:
        assert await served_certificate(url, trusting(folder)) == "server"
        authority.issue("renewed", folder / "server.crt", folder / "server.key")
        assert await served_certificate(url, trusting(folder)) == "renewed"


async def test_a_half_renewed_certificate_leaves_the_old_one_and_is_reported_once(
    folder: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(load(folder, SERVER)) as url:
        authority.issue("renewed", folder / "server.crt", folder / "new.key")
        for _ in range(2):
            assert await served_certificate(url, trusting(folder)) == "server"
        (folder / "server.key").unlink()
        for _ in range(2):
            assert await served_certificate(url, trusting(folder)) == "server"
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        (folder / "new.key").rename(folder / "server.key")
        assert await served_certificate(url, trusting(folder)) == "renewed"


USERS = f"basic_auth_users:\n  alice: {ALICE}\n  bob: {BOB}\n  dora: {DORA}\n"


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/nothing-here"])
async def test_every_page_asks_for_a_user(tmp_path: Path, path: str) -> None:
    config = load(tmp_path, USERS)
    async with served(config) as url, aiohttp.ClientSession() as client, client.get(url + path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        ("alice", "wonderland", 200),
        ("bob", "builder", 200),
        ("alice", "builder", 401),
        ("alice", "", 401),
        ("alice", "\0", 401),
        ("bob", "x" * 100, 401),
        ("dora", "x" * 100, 200),
        ("carol", "wonderland", 401),
        ("carol", "builder", 401),  # the hash an unknown user is compared with is bob's
        ("", "", 401),
    ],
)
async def test_right_and_wrong_passwords(tmp_path: Path, user: str, password: str, expected: int) -> None:
    async with served(load(tmp_path, USERS)) as url:
        for _ in range(2):
            assert await status(url, headers=basic(user, password)) == expected


@pytest.mark.parametrize("header", ["", "Basic", "Basic !", "Basic YWxpY2U=", "Bearer YQ==", "Basic /////w=="])
async def test_malformed_credentials_are_401(tmp_path: Path, header: str) -> None:
    async with served(load(tmp_path, USERS)) as url:
        assert await status(url, headers={"Authorization": header}) == 401


async def test_bcrypt_runs_once_for_a_right_password_each_time_for_a_wrong_one_and_for_the_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def counting(password: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return bcrypt.checkpw(password, hashed)

    monkeypatch.setattr(auth, "_matches", counting)
    async with served(load(tmp_path, USERS)) as url:
        for user, password in [("alice", "wonderland"), ("alice", "wrong"), ("carol", "wrong")]:
            compared.clear()
            for _ in range(3):
                await status(url, headers=basic(user, password))
            expected = {"alice": ALICE, "carol": BOB}[user].encode()  # bob's hash costs most
            assert compared == [expected] * (1 if password == "wonderland" else 3)


async def test_headers_come_with_every_response_also_refusals(tmp_path: Path) -> None:
    headers = "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection:\n"
    config = load(tmp_path, USERS + headers)
    async with served(config) as url, aiohttp.ClientSession() as client:
        for path in ("/metrics", "/nothing-here"):
            async with client.get(url + path) as response:
                assert response.headers["X-Frame-Options"] == "deny"
                assert "X-XSS-Protection" not in response.headers


async def test_an_empty_file_is_plain_http_for_everyone(tmp_path: Path) -> None:
    async with served(load(tmp_path, "# nothing\n")) as url:
        assert url.startswith("http://")
        assert await status(url) == 200


WRONG = {
    "unknown section": ("tls_config: {}\n", ":1: unknown key 'tls_config'"),
    "unknown key": (SERVER + "  cipher_suites: []\n", ":4: unknown key 'cipher_suites' in tls_server_config"),
    "unknown header": ("http_server_config:\n  headers:\n    Server: x\n", ":3: unknown key 'Server' in headers"),
    "value not possible": (SERVER + "  min_version: TLS10\n", ":4: min_version is 'TLS10'"),
    "header value": ("http_server_config: {headers: {X-Frame-Options: yes}}\n", ":1: X-Frame-Options is 'yes'"),
    "http2": ("http_server_config: {http2: maybe}\n", ":1: http2 is 'maybe'"),
    "versions crossed": (SERVER + "  min_version: TLS13\n  max_version: TLS12\n", ":5: min_version is above"),
    "unverified clients": (MUTUAL + "  client_auth_type: RequireAnyClientCert\n", ":5: client_auth_type is"),
    "CA without policy": (MUTUAL, "client_ca_file and client_auth_type"),
    "policy without CA": (SERVER + "  client_auth_type: RequireAndVerifyClientCert\n", "client_ca_file and"),
    "no key": ("tls_server_config:\n  cert_file: server.crt\n", ":2: tls_server_config needs both"),
    "list for a value": (SERVER + "  min_version: [TLS12]\n", ":4: min_version must be a single value"),
    "value for a mapping": ("tls_server_config: on\n", ":1: tls_server_config must be a mapping"),
    "list at the top": ("- a\n", ":1: the file must be a mapping"),
    "given twice": (
        "basic_auth_users: {}\nbasic_auth_users: {}\n",
        ":2: 'basic_auth_users' is given twice in the file, first on line 1",
    ),
    "a hash that takes a day": (
        f"basic_auth_users:\n  alice: $2y$31${'a' * 53}\n",
        ":2: basic_auth_users: a hash of cost 31",
    ),
    "not a hash": ("basic_auth_users:\n  alice: s3cret\n", ":2: basic_auth_users: not a bcrypt hash"),
    "not YAML": ("tls_server_config: {\n", "not valid YAML"),
    "control character": ("a: \x01\n", "not valid YAML"),
    "missing certificate": ("tls_server_config: {cert_file: no.crt, key_file: server.key}\n", "no.crt"),
    "certificate is no PEM": ("tls_server_config: {cert_file: web.yml, key_file: server.key}\n", "not a PEM"),
    "key of another": ("tls_server_config: {cert_file: server.crt, key_file: client.key}\n", "not a PEM"),
    "CA is no PEM": (
        SERVER + "  client_ca_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n",
        "holds no PEM certificate",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_one_line_with_its_place(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(folder, text)
    message = str(raised.value)
    assert message.startswith(str(folder / "web.yml"))
    assert complaint in message
    assert "\n" not in message
    assert "s3cret" not in message
    assert "alice" not in message


@pytest.mark.parametrize("content", [None, b"tls_config: {}\n", b"\xff\xfe\xfd"], ids=["missing", "wrong", "binary"])
async def test_a_wrong_file_ends_the_program_with_one_line_and_exit_code_2(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "web.yml"
    if content is not None:
        path.write_bytes(content)
    async with process("--web.listen-address=127.0.0.1:0", f"--web.config.file={path}") as exporter:
        _, errors = await exporter.communicate()
    assert exporter.returncode == 2
    [line] = errors.decode().splitlines()
    assert str(path) in line


def test_a_user_given_twice_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"basic_auth_users:\n  alice: {ALICE}\n  alice: {ALICE}\n")
    assert str(raised.value) == f"{tmp_path}/web.yml:3: a key is given twice in basic_auth_users, first on line 2"
