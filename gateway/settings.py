"""The environment variables of the specification's Section 12, read once and checked. No file is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway import apns, fcm
from gateway.metrics import HANDLERS
from toolkit.logs import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping


class SettingsError(Exception):
    """One line: which variable is wrong, and what it should be.

    Args:
        code: the process' exit code; 1 for a missing secret (specification, Appendix B), else 2.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Address:
    """Where to listen or connect; an empty host is every interface."""

    host: str
    port: int


@dataclass(frozen=True)
class ApnsSettings:
    """What calls to iPhones need. An empty text is a variable that is not set."""

    key_path: str
    key_id: str
    team_id: str
    bundle_id: str
    server: Address

    @property
    def missing(self) -> list[str]:
        """The variables that are not set."""
        values = {
            "APNS_KEY_PATH": self.key_path,
            "APNS_KEY_ID": self.key_id,
            "APNS_TEAM_ID": self.team_id,
            "APNS_BUNDLE_ID": self.bundle_id,
        }
        return [name for name, value in values.items() if not value]


@dataclass(frozen=True)
class FcmSettings:
    """What pushes through FCM need."""

    account_path: str
    server: Address

    @property
    def missing(self) -> list[str]:
        """The variables that are not set."""
        return [] if self.account_path else ["GOOGLE_APPLICATION_CREDENTIALS"]


@dataclass(frozen=True)
class Settings:
    """All of them.

    Args:
        rate_limit: requests to /push in any second; 0 for no limit.
    """

    listen: Address
    metrics_listen: Address
    secret: bytes = field(repr=False)
    handlers: frozenset[str]
    rate_limit: int
    log_level: str
    apns: ApnsSettings
    fcm: FcmSettings


def read(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment; a variable that is empty counts as not set.

    Raises:
        SettingsError: one is missing or wrong.
    """
    env = {name: value.strip() for name, value in environment.items() if value.strip()}
    if "PUSH_SECRET" not in env:
        raise SettingsError("PUSH_SECRET is not set: put the secret that Prosody's bridge sends into it", code=1)
    apns_host = apns.HOSTS[_choice(env, "APNS_ENVIRONMENT", "production", apns.HOSTS)]
    return Settings(
        listen=Address(_host(env, "HOST", "127.0.0.1"), _number(env, "PORT", 5281, 65_535)),
        metrics_listen=_address(env, "METRICS_LISTEN_ADDRESS", ":9874"),
        secret=env["PUSH_SECRET"].encode("utf-8", "surrogateescape"),
        handlers=_handlers(env),
        rate_limit=_number(env, "RATE_LIMIT", 100, 1_000_000),
        log_level=_choice(env, "LOG_LEVEL", "info", LEVELS),
        apns=ApnsSettings(
            key_path=env.get("APNS_KEY_PATH", ""),
            key_id=env.get("APNS_KEY_ID", ""),
            team_id=env.get("APNS_TEAM_ID", ""),
            bundle_id=env.get("APNS_BUNDLE_ID", ""),
            server=_server(env, "APNS_URL", f"https://{apns_host}"),
        ),
        fcm=FcmSettings(
            account_path=env.get("GOOGLE_APPLICATION_CREDENTIALS", ""),
            server=_server(env, "FCM_URL", f"https://{fcm.HOST}"),
        ),
    )


def _handlers(env: Mapping[str, str]) -> frozenset[str]:
    chosen = frozenset(name.strip() for name in env.get("HANDLERS", ",".join(HANDLERS)).split(","))
    if not chosen <= set(HANDLERS):
        raise SettingsError(f"HANDLERS={env['HANDLERS']}: must be voip, fcm, or both with a comma")
    return chosen


def _choice(env: Mapping[str, str], name: str, default: str, choices: Mapping[str, object]) -> str:
    value = env.get(name, default)
    if value not in choices:
        raise SettingsError(f"{name}={value}: must be one of {', '.join(choices)}")
    return value


def _number(env: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = env.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):  # noqa: PLR2004 - no endless digits
        raise SettingsError(f"{name}={text}: must be a whole number from 0 to {most}")
    return int(text)


def _host(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, default)
    if not _can_be_asked_for(text):
        raise SettingsError(f"{name}={text}: must be a host name or an address")
    return text


def _can_be_asked_for(host: str) -> bool:
    """False for what no resolver takes: an empty label, or one of more than 63 characters."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _address(env: Mapping[str, str], name: str, default: str) -> Address:
    text = env.get(name, default)
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65_536  # noqa: PLR2004 - TCP's
    if not (colon and is_port and _can_be_asked_for(host)):
        raise SettingsError(f"{name}={text}: must be host:port or :port")
    return Address(host.strip("[]"), int(port))


def _server(env: Mapping[str, str], name: str, default: str) -> Address:
    """A provider's address: Apple's or Google's, but for the lab, a proxy, or the one port a firewall lets through."""
    text = env.get(name, default)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 443
    except ValueError:
        host = None
    if host is None or not _can_be_asked_for(host) or url.scheme != "https" or url.path.strip("/"):
        raise SettingsError(f"{name}={text}: must be https://host or https://host:port")
    return Address(host, port)
