"""The file of `--web.config.file`: TLS, users and headers, in the exporter-toolkit's format. It serves nothing.

Of the format (https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md) this reads the keys
in `_KEYS`; any other key is an error, never ignored silently. The certificate, key and client CA are read
again when they change; the file itself is read at the start and on SIGHUP.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from toolkit.documents import ConfigError, Entry, compose, entries, scalar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    import yaml

    from toolkit.auth import Users

_KEYS = {
    "": ("tls_server_config", "basic_auth_users", "http_server_config"),
    "tls_server_config": (
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "min_version",
        "max_version",
    ),
    "http_server_config": ("http2", "headers"),
    "headers": (
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
    ),
}
_VALUES = {
    "client_auth_type": ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"),
    "min_version": ("TLS12", "TLS13"),
    "max_version": ("TLS12", "TLS13"),
    # aiohttp speaks HTTP/1.1 only; ALPN never offers HTTP/2, so either value is true to what clients see.
    "http2": ("true", "false"),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
}
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_MAKE_ONE = "make one with: htpasswd -nBC 10 '' | tr -d ':\\n'"


class WebConfig:
    """The settings in the file; without a file, plain HTTP for everyone.

    Args:
        path: the file, read now with everything it names, relative names being relative to it; raises ConfigError.

    Attributes:
        ssl_context: for new connections, None for plain HTTP.
        users: who may read, None for everyone.
        headers: sent with every response.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.ssl_context: ssl.SSLContext | None = None
        self.users: Users | None = None
        self.headers: Mapping[str, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again; raises ConfigError, and leaves everything as it was."""
        if self._path is None:
            return
        document = _Document(self._path)
        top = document.root()
        tls = document.section(top, "tls_server_config")
        http = document.section(top, "http_server_config")
        for setting in http.values():
            if setting.key == "http2":
                document.scalar(setting)
        headers = document.section(http, "headers")
        self.ssl_context, self.users, self.headers = (
            _tls(document, tls) if tls else None,
            _users(document, document.section(top, "basic_auth_users")),
            {key: value for key, setting in headers.items() if (value := document.scalar(setting))},
        )


class _Document:
    """The file's sections; every error goes through `wrong`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, message: str, line: int | None = None) -> ConfigError:
        return ConfigError(self.path, line, message)

    def root(self) -> dict[str, Entry]:
        return self._known("", compose(self.path, "--web.config.file"))

    def section(self, parent: Mapping[str, Entry], key: str) -> dict[str, Entry]:
        return self._known(key, parent[key].node) if key in parent else {}

    def _known(self, section: str, node: yaml.Node | None) -> dict[str, Entry]:
        name = section or "the file"
        settings = entries(self.path, node, name, secret=section == "basic_auth_users")
        known = _KEYS.get(section)
        for setting in settings.values():
            if known is not None and setting.key not in known:
                raise self.wrong(
                    f"unknown key {setting.key!r} in {name}; known here are {', '.join(known)}", setting.line
                )
        return settings

    def scalar(self, setting: Entry) -> str:
        value = scalar(setting.node)
        if value is None:
            raise self.wrong(f"{setting.key} must be a single value", setting.line)
        allowed = _VALUES.get(setting.key)
        if allowed and value not in allowed:
            raise self.wrong(f"{setting.key} is {value!r}; possible here are {', '.join(allowed)}", setting.line)
        if "\n" in value or "\r" in value:
            raise self.wrong(f"{setting.key} must be a single line", setting.line)
        return value


def _tls(document: _Document, settings: Mapping[str, Entry]) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - only with TLS

    from toolkit.tls import Tls, serving_context  # noqa: PLC0415 - only with TLS

    line = min(setting.line for setting in settings.values())
    values = {key: document.scalar(setting) for key, setting in settings.items()}

    def file(key: str) -> Path | None:
        return document.path.parent / values[key] if values.get(key) else None

    certificate, key, client_ca = file("cert_file"), file("key_file"), file("client_ca_file")
    if certificate is None or key is None:
        raise document.wrong("tls_server_config needs both cert_file and key_file", line)
    client_auth = values.get("client_auth_type", "NoClientCert")
    if (client_auth == "NoClientCert") != (client_ca is None):
        raise document.wrong("client_ca_file and client_auth_type (RequireAndVerifyClientCert) go together", line)
    versions = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
    minimum, maximum = versions[values.get("min_version", "TLS12")], versions[values.get("max_version", "TLS13")]
    if minimum > maximum:
        raise document.wrong("min_version is above max_version", settings["max_version"].line)
    verify = {
        "NoClientCert": ssl.CERT_NONE,
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
    }[client_auth]
    try:
        return serving_context(Tls(certificate, key, client_ca, verify, minimum, maximum))
    except OSError as error:
        raise document.wrong(f"tls_server_config: {error}", line) from None


def _users(document: _Document, settings: Mapping[str, Entry]) -> Users | None:
    if not settings:
        return None
    from toolkit.auth import MOST_COSTLY, Users  # noqa: PLC0415 - bcrypt only with users

    hashes: dict[str, str] = {}
    for name, setting in settings.items():
        # Neither the name nor the hash may be logged; the line number is enough.
        value = str(setting.node.value)
        bcrypt = _BCRYPT.fullmatch(value)
        if not bcrypt:
            raise document.wrong(f"basic_auth_users: not a bcrypt hash; {_MAKE_ONE}", setting.line)
        if int(bcrypt[1]) > MOST_COSTLY:
            raise document.wrong(
                f"basic_auth_users: a hash of cost {bcrypt[1]} takes too long to check, {MOST_COSTLY} is the most; "
                f"{_MAKE_ONE}",
                setting.line,
            )
        hashes[name] = value
    return Users(hashes)
