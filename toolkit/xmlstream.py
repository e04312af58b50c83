"""Splits an XML stream so that expat never gets half a tag. It parses nothing."""


def split_half_tag(data: bytes) -> tuple[bytes, bytes]:
    """Split the received part of an XML stream into what can be parsed now, and an incomplete tag at its end.

    An expat with reparse deferral (2.6, and Debian's 2.5) holds back a tag that it received in two parts until more
    data arrives, and not every Python can switch that off.
    """
    cut = data.rfind(b"<")
    if cut < 0 or cut < data.rfind(b">"):
        return data, b""
    return data[:cut], data[cut:]
