"""The operator's page knows every reason an operator may meet."""

from __future__ import annotations

import re

from exporters.certificates import client, trust
from lab.running.workspace import ROOT


def test_every_reason_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "certificates.md").read_text()
    explained = re.findall(r"^\| `([a-z_0-9]+)` \| [^|]+ \|$", page, re.MULTILINE)
    assert explained == [*trust.REASONS, *client.REASONS]
