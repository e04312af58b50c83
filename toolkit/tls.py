"""A TLS server context that reloads changed certificate files. `toolkit.webconfig` reads the configuration."""

from __future__ import annotations

import logging
import os
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit.files import opened

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


class Tls(NamedTuple):
    """What a context is made of; the client CA is None if and only if `verify` is CERT_NONE."""

    certificate: Path
    key: Path
    client_ca: Path | None
    verify: ssl.VerifyMode
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion

    def context(self) -> ssl.SSLContext:
        """Make a context from the files as they are now; raises OSError naming the file, also for unusable content."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.minimum, self.maximum
        for path in self._files():
            with opened(path):  # for an error that names the file: OpenSSL's does not
                pass
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise OSError(
                f"{self.certificate} and {self.key} are not a PEM certificate and its key ({error})"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise OSError(f"{self.client_ca} holds no PEM certificate ({error})") from None
        context.verify_mode = self.verify
        return context

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return a value that changes when a file is rewritten or replaced; raises OSError."""
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in map(os.stat, self._files()))

    def _files(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


class _FollowingContext(ssl.SSLContext):
    """Gives each new connection a context made from the files as they are then; asyncio calls `wrap_bio`."""

    tls: Tls
    current: ssl.SSLContext
    stamp: tuple[tuple[int, int, int], ...] | None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 - passed through
        """Start a connection (ssl.SSLContext.wrap_bio)."""
        self._follow()
        return self.current.wrap_bio(*args, **kwargs)

    def _follow(self) -> None:
        try:
            stamp = self.tls.stamp()
        except OSError:
            stamp = None  # a file is missing; context() says which
        if stamp == self.stamp:
            return
        self.stamp = stamp  # before reading: a change meanwhile is seen next time, a broken pair is logged once
        try:
            self.current = self.tls.context()
        except OSError as error:
            # A renewal writes certificate and key one after the other: serve the old pair until both fit.
            _log.warning("certificate files changed but cannot be used, keeping the old ones: %s", error)
        else:
            _log.info("certificate files changed, in use from now on")


def serving_context(tls: Tls) -> ssl.SSLContext:
    """Make a server context that reloads its files when they change; raises OSError if they cannot be used now."""
    context = _FollowingContext(ssl.PROTOCOL_TLS_SERVER)
    context.tls, context.stamp, context.current = tls, tls.stamp(), tls.context()
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, which a service cannot use")
