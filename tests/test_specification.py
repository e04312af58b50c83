"""Every section and contradiction of the specification that we cite is described in docs/specification.md."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.prose import ROOT, every_text

PAGE: Final = ROOT / "docs/specification.md"
CITED: Final = re.compile(r"\b(Section \d+(?: [A-J]\b)?|Appendix [A-D]\b|[Cc]ontradiction \d+)")
HEADINGS: Final = set(re.findall(r"^#+ (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
OTHERS: Final = ("RFC", "XEP", "Appendix C of RFC")  # sections of other documents: RFC 9113 and so on


def _citations() -> list[tuple[str, str]]:
    found = []
    for name in every_text():
        text = (ROOT / name).read_text(encoding="utf-8")
        for match in CITED.finditer(text):
            before = text[max(0, match.start() - 20) : match.start()]
            if not any(other in before for other in OTHERS):
                found.append((name, match[0]))
    return found


@pytest.mark.parametrize("cited", sorted({cited for _, cited in _citations()}))
def test_what_is_cited_is_described(cited: str) -> None:
    where = sorted({name for name, one in _citations() if one == cited})
    assert cited.replace("contradiction", "Contradiction") in HEADINGS, f"cited in {', '.join(where)}"


def test_each_description_says_whether_the_specification_is_met() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for part in re.split(r"^#{2,3} ", text.partition("## Contradictions")[0], flags=re.MULTILINE)[1:]:
        name = part.partition("\n")[0]
        assert "**Met" in part or name == "Section 20", name


def test_every_link_to_the_page_leads_to_one_of_its_headings() -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in HEADINGS}
    links = [
        (name, anchor)
        for name in every_text()
        for anchor in re.findall(r"\(\S*specification\.md#([\w-]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    ]
    assert links
    assert not [link for link in links if link[1] not in anchors]
