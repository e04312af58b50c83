"""The relay sockets of one turnserver process, asked of the kernel. It sees which ports are taken, not what for.

The question goes over NETLINK_SOCK_DIAG, which answers with what /proc/net/udp shows at a sixth of the cost (4,000
sockets: 3 ms instead of 17). /proc/<pid>/fd then tells which of those sockets are the process's; a socket is looked up
there once in its life.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from array import array
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE = 3  # NLMSG_DONE
_HEADER = struct.Struct("=LHHLL")  # struct nlmsghdr: length, kind, ...
_QUESTION = struct.Struct("=BBBBL48x")  # struct inet_diag_req_v2: family, protocol, extensions, pad, states, any id
# The header and a struct inet_diag_msg (linux/inet_diag.h): port in network byte order, address; uid, inode
_ANSWER = "=20xH2x16s40xLL"
_LAST = 20  # bytes of the message that ends a dump: a header and an error number
# TCP_CLOSE: a UDP socket without a fixed peer. That is a relay; a client's socket with a port in the range has one.
_UNCONNECTED = 1 << 7
_BUFFER = 1 << 15  # the kernel sends no more at a time
_PATIENCE = 1.0  # seconds; the kernel answers at once or not at all


class RelayPorts:
    """The relay sockets of one process.

    Args:
        ports: coturn's min-port to max-port.
        listeners: the ports it listens on; one in the range is no relay.
        addresses: those of its relays; empty for any.
    """

    def __init__(self, ports: range, listeners: Collection[int] = (), addresses: Collection[str] = ()) -> None:
        self._ports = array("H", bytes(2 << 16))  # by a port in network byte order: that port, or 0 if it is no relay's
        for port in ports:
            self._ports[socket.htons(port)] = 0 if port in listeners else port
        self._addresses = frozenset(_packed(address) for address in addresses)
        self._inodes: dict[int, str] = {}  # the process's sockets, with the name of their file descriptor
        self._foreign: set[int] = set()

    def read(self, pid: int, uid: int | None) -> dict[int, int]:
        """Relay ports in use, by the inode of their socket, which is unique while it is open.

        Args:
            pid: of the turnserver process.
            uid: the user it runs as, None if that is not known. If /proc/<pid>/fd may not be read, all sockets of that
                user count.

        Raises:
            OSError: the kernel does not answer (a sandbox without AF_NETLINK).
        """
        found = self._listed(uid)
        try:
            self._look_up(pid, found)
        except OSError:  # another user's process
            return found
        if self._foreign:
            return {inode: port for inode, port in found.items() if inode not in self._foreign}
        return found

    def everyones(self) -> dict[int, int]:
        """The same of whichever process, which costs no look at the files of any."""
        return self._listed(None)

    def _look_up(self, pid: int, found: dict[int, int]) -> None:
        """Find out whose the sockets are that were not there before."""
        self._foreign &= found.keys()
        if found.keys() <= self._inodes.keys() | self._foreign:
            return
        folder = f"/proc/{pid}/fd"
        names = os.listdir(folder)  # noqa: PTH208 - thousands of names, no need for objects
        known = {name: inode for inode, name in self._inodes.items() if inode in found}
        self._inodes = {known.get(name) or _socket_inode(f"{folder}/{name}"): name for name in names}
        self._foreign = found.keys() - self._inodes.keys()

    def _listed(self, uid: int | None) -> dict[int, int]:
        """Port by inode, of the sockets in the range that belong to this user."""
        ports, addresses = self._ports, self._addresses
        return {
            inode: ports[port]
            for port, address, owner, inode in chain(_dump(socket.AF_INET), _dump(socket.AF_INET6))
            if ports[port] and (uid is None or uid == owner) and (not addresses or address in addresses)
        }


def _socket_inode(path: str) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return 0  # closed since it was listed
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address).ljust(16, b"\0")


def _dump(family: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Every unconnected UDP socket of one address family: what _ANSWER says of it."""
    return chain.from_iterable(map(_sockets, _answers(family)))


def _answers(family: int) -> Iterator[bytes]:
    """The kernel's messages about them, some hundred at a time."""
    question = _QUESTION.pack(family, socket.IPPROTO_UDP, 0, 0, _UNCONNECTED)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.send(_HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + question)
        while True:
            answer = kernel.recv(_BUFFER)
            is_last = _HEADER.unpack_from(answer, len(answer) - _LAST)[:2] == (_LAST, _DONE)
            yield answer[:-_LAST] if is_last else answer
            if is_last:
                return


def _sockets(answer: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Read messages all at once, which their being of one kind and size allows: a third of the cost of one by one."""
    if not answer:
        return iter(())
    size, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY or len(answer) % size or answer[::size] != answer[:1] * (len(answer) // size):
        raise OSError(f"the kernel lists no sockets (netlink message {kind})")
    return struct.iter_unpack(f"{_ANSWER}{size - struct.calcsize(_ANSWER)}x", answer)
