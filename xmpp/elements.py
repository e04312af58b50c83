"""Cuts a stream's bytes into XML elements, names elements for a log, and writes them. It opens no connection.

The peer is not trusted: the size of an element is limited, and a document type declaration ends the stream. RFC 6120
11.1 forbids such a declaration, and its entities could multiply.
"""

from typing import cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from toolkit.xmlstream import split_half_tag
from xmpp.errors import ProtocolError

CLIENT = "jabber:client"
STREAMS = "http://etherx.jabber.org/streams"
STANZAS = ("message", "presence", "iq")
MAX_ELEMENT = 512 * 1024  # bytes of one element; Prosody's own limit for a client's stanza is half of it
_ENVELOPE = f"<stream:stream xmlns:stream='{STREAMS}' xmlns='{CLIENT}'>"
_DOCTYPE = "the server sent a document type declaration, which XMPP forbids"
_NAME = 64  # characters of a name that a stranger chose


class ElementStream:
    """Cuts the bytes of one XML stream into its first-level elements.

    Attributes:
        ended: whether the stream's own end tag has arrived.
    """

    def __init__(self) -> None:
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        self._half_tag = b""
        self._depth = 0
        self._pending = 0
        self._root: ET.Element | None = None
        self.ended = False

    def feed(self, data: bytes | str) -> list[ET.Element]:
        """Return the elements that `data` completed. Raises ProtocolError if it is no XML or too large."""
        complete: list[ET.Element] = []
        data = data.encode() if isinstance(data, str) else data
        self._pending += len(data)
        if self._pending > MAX_ELEMENT:
            raise ProtocolError(f"the server sent an element of more than {MAX_ELEMENT} bytes")
        whole, self._half_tag = split_half_tag(self._half_tag + data)
        if b"<!DOCTYPE" in whole:
            raise ProtocolError(_DOCTYPE)
        try:
            self._parser.feed(whole)
            for event, element in cast("list[tuple[str, ET.Element]]", list(self._parser.read_events())):
                if event == "start":
                    self._depth += 1
                    if self._root is None:
                        self._root = element
                    continue
                self._depth -= 1
                if self._depth == 1 and self._root is not None:
                    complete.append(element)
                    self._root.clear()  # a stream's root element ends only with the stream: drop its children
                elif self._depth == 0:
                    self.ended = True
        except ET.ParseError as error:
            raise ProtocolError(f"the server sent malformed XML: {error}") from error
        if complete or self._depth == 1:  # between two elements; what lies there is white space
            self._pending = len(self._half_tag)
        return complete


def parse_frame(text: str) -> ET.Element | None:
    """Parse one WebSocket message (RFC 7395 3.3); None for Prosody's whitespace keepalive.

    A stream error arrives with an undeclared `stream:` prefix, so every message is read inside a stream header. The
    connection limits its size. Raises ProtocolError.
    """
    if "<!DOCTYPE" in text:
        raise ProtocolError(_DOCTYPE)
    try:
        return next(iter(ET.fromstring(f"{_ENVELOPE}{text}</stream:stream>")), None)  # noqa: S314 - without a DOCTYPE
    except ET.ParseError as error:
        raise ProtocolError(f"the server sent malformed XML: {error}") from error


def stanza(kind: str, payload: str = "", **attributes: str) -> str:
    """Write a stanza without its empty attributes. Over WebSocket each must declare its namespace (RFC 7395 3.3.3)."""
    written = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value)
    return f"<{kind} xmlns='{CLIENT}'{written}>{payload}</{kind}>"


def condition_of(element: ET.Element) -> str:
    """Return the defined condition inside an error or failure, for example "service-unavailable"; "" without one."""
    names = [local_name(child) for child in element.iter() if child is not element]
    return next((name for name in names if name not in ("error", "text")), "")


def describe_error(element: ET.Element) -> str:
    """Name an element by its local name and the defined condition inside it, as in `failure (not-authorized)`."""
    condition = condition_of(element)
    return f"{local_name(element)} ({condition})" if condition else local_name(element)


def local_name(element: ET.Element) -> str:
    """Return the tag without its namespace, cut to a length a log can take."""
    return element.tag.rpartition("}")[2][:_NAME]


def number(element: ET.Element, attribute: str, default: int | None = None) -> int:
    """Return an attribute that is a number. Raises ProtocolError if it is none."""
    text = element.get(attribute, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10):  # noqa: PLR2004 - 32 bits (XEP-0198)
        raise ProtocolError(f"the server sent no number as {attribute} of {local_name(element)}")
    return int(text)
