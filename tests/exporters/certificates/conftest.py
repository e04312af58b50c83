"""What the tests of the certificate exporter share: an authority whose certificate is in root.pem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.servers.pki import Authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Authority:
    authority = Authority("Root")
    (tmp_path / "root.pem").write_bytes(authority.pem)
    return authority
