"""The parser of the admin socket's answers by itself, with made-up input."""

from __future__ import annotations

from itertools import pairwise
from xml.sax.saxutils import escape

from hypothesis import given
from hypothesis import strategies as st

from exporters.prosody.client import REASONS, AnswerParser
from tests.exporters.prosody.fakes import SERVER_HEADER
from toolkit.scrape import TargetError

# The parser by itself -----------------------------------------------------------------------------------------------

XML_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=("Cc", "Cs")))
ANSWERS = st.lists(st.tuples(st.booleans(), st.lists(XML_TEXT, min_size=1, max_size=4)), max_size=4)


@given(ANSWERS, st.lists(st.integers(0, 1000)))
def test_any_chunking_of_a_stream_gives_the_same_answers(
    answers: list[tuple[bool, list[str]]], cuts: list[int]
) -> None:
    stream = SERVER_HEADER
    for is_error, texts in answers:
        *output, last = map(escape, texts)
        stream += "".join(f"<repl-output>{line}</repl-output> " for line in output)
        stream += (
            f"<repl-result type='error'>{last}</repl-result>" if is_error else f"<repl-result>{last}</repl-result>"
        )
    data = stream.encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parser = AnswerParser(max_bytes=len(data))
    seen = [answer for start, end in pairwise(edges) for answer in parser.feed(data[start:end])]
    assert seen == [(is_error, "".join(texts[:-1]), texts[-1]) for is_error, texts in answers]


def feed(data: bytes) -> None:
    """Feed a parser in two parts; nothing but a TargetError may come out."""
    parser = AnswerParser(max_bytes=10_000)
    try:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            for answer in parser.feed(part):
                assert isinstance(answer.is_error, bool)
                assert isinstance(answer.printed + answer.result, str)
    except TargetError as error:
        assert error.reason in REASONS  # noqa: PT017 - most inputs raise, not all
        assert "\n" not in str(error)  # noqa: PT017 - as above


MARKUP = ["<repl-result>", "</repl-result>", "<repl-output a='", "'>", "</repl-output>", "<!--", "<![CDATA[", "]]>"]
MARKUP += [
    "<stream:error>",
    "</stream:error>",
    "</stream:stream>",
    "<?x",
    "?>",
    "&#0;",
    "&lt;",
    "<!DOCTYPE",
    "<a",
    "/>",
]


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_a_target_error(data: bytes) -> None:
    feed(data)


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=3)))
def test_arbitrary_markup_in_a_stream_raises_nothing_but_a_target_error(pieces: list[str]) -> None:
    feed((SERVER_HEADER + "".join(pieces)).encode(errors="surrogatepass"))
