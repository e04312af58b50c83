"""The sockets of one turnserver as Linux lists them: its relays, and who is behind a connection. It opens none itself.

They come over NETLINK_SOCK_DIAG. /proc/net/udp and /proc/net/tcp show the same, and reading them is less code, but:
Linux gives those files out page by page, and a socket that is closed between two pages hides another one, which makes
the counts below wrong while other programs are busy; and they cost more (measured with 4,000 UDP
sockets: 19 against 2.6 ms of CPU, and 7 ms for the TCP sockets however few there are).

/proc/<pid>/fd tells which sockets are the process's; a socket is looked up there once in its life.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from array import array
from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE = 3  # NLMSG_DONE
_HEADER = struct.Struct("=LHHLL")  # struct nlmsghdr: length, kind, ...
_QUESTION = struct.Struct("=BBBBL48x")  # struct inet_diag_req_v2: family, protocol, extensions, pad, states, any id
# The header and a struct inet_diag_msg (linux/inet_diag.h): ports in network byte order, addresses; uid, inode
_ANSWER = "=20xHH16s16s24xLL"
_LAST = 20  # bytes of the message that ends a dump: a header and an error number
_PROTOCOLS = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
_ESTABLISHED = 1 << 1
# TCP_CLOSE: a UDP socket without a fixed peer. That is a relay; a client's socket with a port in the range has one.
# TCP_LISTEN: a TCP relay (RFC 6062), which waits for its peers.
_WITHOUT_PEER = {"udp": 1 << 7, "tcp": 1 << 10}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_BUFFER = 1 << 15  # the kernel sends no more at a time
_PATIENCE = 1.0  # seconds; the kernel answers at once or not at all
# Ports and addresses of both ends, user, inode; ports as the network has them.
_Listed = tuple[int, int, bytes, bytes, int, int]


class Sockets:
    """The sockets of one process that are relays.

    Args:
        ports: coturn's min-port to max-port.
        listeners: the ports it listens on; one in the range is no relay.
        addresses: those of its relays; empty for any.
        protocols: of the relays it may have: udp, tcp.
    """

    def __init__(
        self,
        ports: range,
        listeners: Collection[int] = (),
        addresses: Collection[str] = (),
        protocols: Sequence[str] = ("udp", "tcp"),
    ) -> None:
        self._ports = array("H", bytes(2 << 16))  # by a port in network byte order: that port, or 0 if it is no relay's
        for port in ports:
            self._ports[socket.htons(port)] = 0 if port in listeners else port
        self._addresses = frozenset(_packed(address) for address in addresses)
        self._protocols = protocols
        self._inodes: dict[int, str] = {}  # the process's sockets, with the name of their file descriptor
        self._foreign: set[int] = set()

    def relays(self, pid: int, uid: int | None) -> dict[int, int]:
        """Relay ports in use, by the inode of their socket, which is unique while the socket is open.

        Args:
            pid: of the turnserver process.
            uid: the user it runs as, None if that is not known. If /proc/<pid>/fd may not be read, all sockets of that
                user count.

        Raises:
            OSError: the kernel does not answer (a sandbox without AF_NETLINK).
        """
        found = self._listed(uid, self._protocols)
        try:
            self._look_up(pid, found)
        except OSError:  # another user's process
            return found
        if self._foreign:
            return {inode: port for inode, port in found.items() if inode not in self._foreign}
        return found

    def everyones(self, protocol: str) -> dict[int, int]:
        """The same for one protocol and all processes, which costs no look at the files of any. Raises OSError."""
        return self._listed(None, (protocol,))

    def still_open(self, pid: int, inodes: Collection[int]) -> set[int]:
        """Which of these sockets are still open; cheap for those that `relays` has looked up. Raises OSError."""
        names = {inode: self._inodes[inode] for inode in inodes if inode in self._inodes}
        if len(names) == len(inodes):
            return {inode for inode, name in names.items() if _socket_inode(f"/proc/{pid}/fd/{name}") == inode}
        return set(inodes) & self._listed(None, self._protocols).keys()

    def _look_up(self, pid: int, found: dict[int, int]) -> None:
        """Find out which process has the sockets that were not there before."""
        self._foreign &= found.keys()
        if found.keys() <= self._inodes.keys() | self._foreign:
            return
        folder = f"/proc/{pid}/fd"
        names = os.listdir(folder)  # noqa: PTH208 - thousands of names, no need for objects
        known = {name: inode for inode, name in self._inodes.items() if inode in found}
        self._inodes = {known.get(name) or _socket_inode(f"{folder}/{name}"): name for name in names}
        self._foreign = found.keys() - self._inodes.keys()

    def _listed(self, uid: int | None, protocols: Iterable[str]) -> dict[int, int]:
        """Port by inode, of the sockets in the range that belong to this user."""
        ports, addresses = self._ports, self._addresses
        return {
            inode: ports[port]
            for protocol in protocols
            for port, _, address, _, owner, inode in _dump(protocol, _WITHOUT_PEER[protocol])
            if ports[port] and (uid is None or uid == owner) and (not addresses or address in addresses)
        }


def found_addresses(ports: Iterable[int]) -> int:
    """How many addresses coturn has for relays when it looks for them by itself. Raises OSError.

    Those are the addresses it listens on at these ports, without loopback if it has others of the same family
    (`make_local_relays_list` in its mainrelay.c).
    """
    wanted = {socket.htons(port) for port in ports}
    count = 0
    for family in _FAMILIES:
        size = 4 if family == socket.AF_INET else 16
        seen = {
            ip_address(address[:size])
            for protocol, states in _WITHOUT_PEER.items()
            for port, _, address, *_ in _dump(protocol, states, [family])
            if port in wanted and any(address)
        }
        count += sum(not address.is_loopback for address in seen) or len(seen)
    return count


def owns_peer(pid: int, uid: int | None, local: tuple[str, int], peer: tuple[str, int]) -> bool:
    """Whether the other end of one of our TCP connections is a socket of this process. Raises OSError.

    Args:
        pid: of the process.
        uid: the user it runs as. If we may not see the process's files, a socket of that user is enough.
        local: address and port of our end.
        peer: address and port of the other end, on this machine.
    """
    wanted = (socket.htons(peer[1]), socket.htons(local[1]), _packed(peer[0]), _packed(local[0]))
    theirs = {found[4:] for found in _dump("tcp", _ESTABLISHED) if found[:4] == wanted}
    if len(theirs) != 1:
        return False
    ((owner, inode),) = theirs
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - as above
    except PermissionError:
        return owner == uid
    except OSError:
        return False
    return any(_socket_inode(f"/proc/{pid}/fd/{name}") == inode for name in names)


def _socket_inode(path: str) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return 0  # closed since it was listed
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0


def _packed(address: str) -> bytes:
    return ip_address(address.partition("%")[0]).packed.ljust(16, b"\0")


def _dump(protocol: str, states: int, families: Iterable[int] = _FAMILIES) -> Iterator[_Listed]:
    """Every socket of one protocol in one of these states (a set of bits): what _ANSWER says of it."""
    return chain.from_iterable(
        _sockets(answer) for family in families for answer in _answers(family, _PROTOCOLS[protocol], states)
    )


def _answers(family: int, protocol: int, states: int) -> Iterator[bytes]:
    """The kernel's messages about them, some hundred at a time."""
    question = _QUESTION.pack(family, protocol, 0, 0, states)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.send(_HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + question)
        while True:
            answer = kernel.recv(_BUFFER)
            is_last = _HEADER.unpack_from(answer, len(answer) - _LAST)[:2] == (_LAST, _DONE)
            yield answer[:-_LAST] if is_last else answer
            if is_last:
                return


def _sockets(answer: bytes) -> Iterator[_Listed]:
    """Read messages all at once, as most are of one size: a third of the cost of one by one."""
    if not answer:
        return iter(())
    size, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError(f"the kernel lists no sockets (netlink message {kind})")
    if len(answer) % size or answer[::size] != answer[:1] * (len(answer) // size):
        return _one_by_one(answer)
    return struct.iter_unpack(f"{_ANSWER}{size - struct.calcsize(_ANSWER)}x", answer)


def _one_by_one(answer: bytes) -> Iterator[_Listed]:
    at = 0
    while at < len(answer):
        size = max(_HEADER.size, int(_HEADER.unpack_from(answer, at)[0]))
        yield struct.unpack_from(_ANSWER, answer, at)
        at += size + -size % 4
