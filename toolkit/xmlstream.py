"""What every reader of an XML stream needs before expat may see the bytes. It parses nothing."""


def split_half_tag(data: bytes) -> tuple[bytes, bytes]:
    """Split what has arrived of an XML stream into what may be parsed now, and a tag at its end that is not yet whole.

    An expat with reparse deferral (2.6, and Debian's 2.5) holds back a tag that it got in two parts until more comes,
    and not every Python can switch that off: so it must never get half a tag.
    """
    cut = data.rfind(b"<")
    if cut < 0 or cut < data.rfind(b">"):
        return data, b""
    return data[:cut], data[cut:]
