"""The environment variables of the specification's Section 12, read once and checked. No file is opened here."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway import apns, fcm
from gateway.metrics import HANDLERS
from gateway.push import MAX_NODE, is_apns_token
from toolkit.logs import LEVELS
from toolkit.values import Address, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER = "CHANGE_ME"  # of deploy/push-gateway.env
_SHOWN = 100  # characters of a wrong value


class SettingsError(Exception):
    """One line: which variable is wrong, and what it should be.

    Args:
        message: that line; what cannot be printed is escaped.
        code: the process' exit code; 1 for a missing secret (specification, Appendix B), else 2.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(
            "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)
        )
        self.code = code

    @classmethod
    def wrong(cls, name: str, value: str, must: str) -> SettingsError:
        """Return an error that shows the beginning of a value."""
        return cls(f"{name}={value if len(value) <= _SHOWN else value[:_SHOWN] + '...'}: must be {must}")


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
    """What pushes through FCM need. An empty text is a variable that is not set."""

    account_path: str
    server: Address

    @property
    def missing(self) -> list[str]:
        """The variables that are not set."""
        return [] if self.account_path else ["GOOGLE_APPLICATION_CREDENTIALS"]


@dataclass(frozen=True)
class Settings:
    """All settings.

    Args:
        listen: for callers of /push.
        metrics_listen: for Prometheus.
        web_config: file with TLS and users for Prometheus, None for neither.
        secret: the secret that callers must send.
        handlers: the handlers to run.
        rate_limit: requests to /push in any second; 0 for no limit.
        log_level: a key of `toolkit.logs.LEVELS`.
        apns: what calls to iPhones need.
        fcm: what pushes through FCM need.
        canaries: the tokens of the operator's test phones, by handler.
        canary_interval: seconds between two pushes to one.
    """

    listen: Address
    metrics_listen: Address
    web_config: Path | None
    secret: bytes = field(repr=False)
    handlers: frozenset[str]
    rate_limit: int
    log_level: str
    apns: ApnsSettings
    fcm: FcmSettings
    canaries: Mapping[str, str] = field(repr=False)
    canary_interval: float


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings in an environment; a variable that is empty counts as not set.

    Raises:
        SettingsError: one is missing or wrong.
    """
    env = {name: value.strip() for name, value in environment.items() if value.strip()}
    if "PUSH_SECRET" not in env:
        raise SettingsError("PUSH_SECRET is not set: put the secret that Prosody's bridge sends into it", code=1)
    if _PLACEHOLDER in env["PUSH_SECRET"]:
        raise SettingsError(f"PUSH_SECRET is still {_PLACEHOLDER}, which everybody knows: put a secret into it")
    apns_host = apns.HOSTS[_choice(env, "APNS_ENVIRONMENT", "production", apns.HOSTS)]
    web_config = env.get("METRICS_WEB_CONFIG_FILE")
    return Settings(
        listen=Address(_host(env, "HOST", "127.0.0.1"), _number(env, "PORT", 5281, 65_535)),
        metrics_listen=_address(env, "METRICS_LISTEN_ADDRESS", ":9874"),
        web_config=Path(web_config) if web_config else None,
        secret=env["PUSH_SECRET"].encode("utf-8", "surrogateescape"),
        handlers=_handlers(env),
        rate_limit=_number(env, "RATE_LIMIT", 100, 1_000_000),
        log_level=_choice(env, "LOG_LEVEL", "info", LEVELS),
        apns=ApnsSettings(
            key_path=_own(env, "APNS_KEY_PATH"),
            key_id=_own(env, "APNS_KEY_ID"),
            team_id=_own(env, "APNS_TEAM_ID"),
            bundle_id=_own(env, "APNS_BUNDLE_ID"),
            server=_server(env, "APNS_URL", f"https://{apns_host}"),
        ),
        fcm=FcmSettings(
            account_path=_own(env, "GOOGLE_APPLICATION_CREDENTIALS"),
            server=_server(env, "FCM_URL", f"https://{fcm.HOST}"),
        ),
        canaries=_canaries(env),
        canary_interval=_duration(env, "CANARY_INTERVAL", "1h"),
    )


def _own(env: Mapping[str, str], name: str) -> str:
    """Return a value that has no default; empty if it is not set, or still the placeholder."""
    value = env.get(name, "")
    return "" if _PLACEHOLDER in value else value


def _handlers(env: Mapping[str, str]) -> frozenset[str]:
    chosen = frozenset(name.strip() for name in env.get("HANDLERS", ",".join(HANDLERS)).split(","))
    if not chosen <= set(HANDLERS):
        raise SettingsError.wrong("HANDLERS", env["HANDLERS"], "voip, fcm, or both with a comma")
    return chosen


def _canaries(env: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tokens of the test phones; no error quotes one."""
    found = {name: _own(env, f"CANARY_{name.upper()}_TOKEN") for name in HANDLERS}
    if found["voip"] and not is_apns_token(found["voip"]):
        raise SettingsError("CANARY_VOIP_TOKEN: must be the PushKit token of a test iPhone, 64 hex digits or more")
    if len(found["fcm"]) > MAX_NODE or is_apns_token(found["fcm"]):
        raise SettingsError("CANARY_FCM_TOKEN: must be the FCM registration token of a test phone")
    return {name: token for name, token in found.items() if token}


def _duration(env: Mapping[str, str], name: str, default: str) -> float:
    text = env.get(name, default)
    try:
        return duration(text)
    except ArgumentTypeError:
        raise SettingsError.wrong(name, text, "a duration such as 30m or 1h") from None


def _choice(env: Mapping[str, str], name: str, default: str, choices: Mapping[str, object]) -> str:
    value = env.get(name, default)
    if value not in choices:
        raise SettingsError.wrong(name, value, f"one of {', '.join(choices)}")
    return value


def _number(env: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = env.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):  # noqa: PLR2004 - no endless digits
        raise SettingsError.wrong(name, text, f"a whole number from 0 to {most}")
    return int(text)


def _host(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, default)
    if not _can_be_resolved(text):
        raise SettingsError.wrong(name, text, "a host name or an address")
    return text


def _can_be_resolved(host: str) -> bool:
    """Return False for a name that no resolver accepts: an empty label, or one of more than 63 characters."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in host


def _address(env: Mapping[str, str], name: str, default: str) -> Address:
    text = env.get(name, default)
    try:
        address = Address.parse(text)
    except ArgumentTypeError:
        address = None
    if address is None or not _can_be_resolved(address.host):
        raise SettingsError.wrong(name, text, "host:port or :port")
    return address


def _server(env: Mapping[str, str], name: str, default: str) -> Address:
    """Return a provider's address: Apple's or Google's, or one for a lab, a proxy or a port that a firewall opens."""
    text = env.get(name, default)
    if "@" in text:
        raise SettingsError(f"{name}: must be https://host or https://host:port, without a user or password")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 443
    except ValueError:
        host = None
    if host is None or not _can_be_resolved(host) or url.scheme != "https" or url.path.strip("/") or url.query:
        raise SettingsError.wrong(name, text, "https://host or https://host:port")
    return Address(host, port)
