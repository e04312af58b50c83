"""The relay ports in use are the process's own sockets in the range, and of no other process."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

import pytest

from exporters.coturn.sockets import Sockets, _sockets, found_addresses, owns_peer

EVERYTHING = range(1024, 65536)


def udp(address: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made


def port_of(made: socket.socket) -> int:
    return int(made.getsockname()[1])


def ports() -> set[int]:
    return set(Sockets(EVERYTHING).relays(os.getpid(), os.getuid()).values())


def test_open_sockets_are_seen_and_closed_ones_are_not() -> None:
    relays = Sockets(EVERYTHING)
    with udp() as first, udp("::1") as second:
        found = relays.relays(os.getpid(), os.getuid())
        assert found[os.fstat(first.fileno()).st_ino] == port_of(first)
        assert found[os.fstat(second.fileno()).st_ino] == port_of(second)
        first.close()
        with udp() as third:  # under the file descriptor the first one had
            again = relays.relays(os.getpid(), os.getuid()).values()
            assert {port_of(second), port_of(third)} <= set(again)
            assert len(again) == len(found)


def test_a_socket_of_another_process_or_with_a_fixed_peer_is_no_relay() -> None:
    other = "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); "
    other += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        udp() as connected,
    ):
        assert process.stdout
        foreign = int(process.stdout.readline())
        connected.connect(("127.0.0.1", 9))
        assert not {foreign, port_of(connected)} & ports()
        assert foreign in Sockets(EVERYTHING).everyones("udp").values()


def test_only_the_range_and_the_relay_address_count() -> None:
    with udp() as inside:
        port = port_of(inside)
        assert list(Sockets(range(port, port + 1), (), ["127.0.0.1"]).relays(os.getpid(), None).values()) == [port]
        assert Sockets(range(port, port + 1), [port]).relays(os.getpid(), None) == {}
        assert Sockets(range(port, port + 1), (), ["127.0.0.2"]).relays(os.getpid(), None) == {}
        assert port not in Sockets(range(1024, port)).relays(os.getpid(), None).values()


def test_a_process_whose_files_may_not_be_read_is_known_by_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(os, "listdir", refused)
    with udp() as ours:
        assert port_of(ours) in Sockets(EVERYTHING).relays(os.getpid(), os.getuid()).values()
        assert Sockets(EVERYTHING).relays(os.getpid(), os.getuid() + 1) == {}


def test_tcp_relays_listen_and_count_only_where_coturn_gives_them() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        port = port_of(listening)
        assert Sockets(range(port, port + 1)).relays(os.getpid(), None) == {os.fstat(listening.fileno()).st_ino: port}
        assert Sockets(range(port, port + 1), protocols=["udp"]).relays(os.getpid(), None) == {}
        assert port_of(client) not in Sockets(EVERYTHING).relays(os.getpid(), None).values()


def test_relays_still_open_are_known_by_their_file_and_by_the_list() -> None:
    relays = Sockets(EVERYTHING)
    with udp() as first, udp() as second:
        inodes = {os.fstat(made.fileno()).st_ino for made in (first, second)}
        assert relays.still_open(os.getpid(), inodes) == inodes, "not looked up yet, so by the list"
        relays.relays(os.getpid(), None)
        assert relays.still_open(os.getpid(), inodes) == inodes
        gone = os.fstat(first.fileno()).st_ino
        first.close()
        assert relays.still_open(os.getpid(), inodes) == inodes - {gone}
    assert relays.still_open(os.getpid(), inodes) == set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_other_end_of_a_connection_is_known_by_process(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            ends = client.getsockname()[:2], client.getpeername()[:2]
            assert owns_peer(os.getpid(), None, *ends)
            assert not owns_peer(os.getppid(), None, *ends)
            assert not owns_peer(2**22 + 1, os.getuid(), *ends)
            assert not owns_peer(os.getpid(), None, ends[1], ("127.0.0.1", 1))


def test_the_other_end_is_known_by_user_where_the_files_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(os, "listdir", refused)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            ends = client.getsockname(), client.getpeername()
            assert owns_peer(os.getpid(), os.getuid(), *ends)
            assert not owns_peer(os.getpid(), os.getuid() + 1, *ends)
            assert not owns_peer(os.getpid(), None, *ends)


def test_messages_of_different_sizes_are_read_one_by_one() -> None:
    def message(port: int, inode: int, more: int) -> bytes:
        body = struct.pack("=4xHH16s16s24xLL", socket.htons(port), 0, bytes(16), bytes(16), 0, inode) + bytes(more)
        return struct.pack("=LHHLL", 16 + len(body), 20, 2, 1, 0) + body

    found = list(_sockets(message(50000, 1, 8) + message(50001, 2, 24) + message(50002, 3, 8)))
    assert [(socket.ntohs(port), inode) for port, *_, inode in found] == [(50000, 1), (50001, 2), (50002, 3)]


def test_the_addresses_coturn_finds_by_itself_leave_out_loopback_if_there_are_others() -> None:
    port = 0
    with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
        first.bind(("127.0.0.1", 0))
        port = port_of(first)
        second.bind(("127.0.0.2", port))
        assert found_addresses([port]) == 2
        with socket.socket(type=socket.SOCK_DGRAM) as third:
            with socket.socket(type=socket.SOCK_DGRAM) as route:
                route.connect(("192.0.2.1", 9))  # sends nothing
                mine = route.getsockname()[0]
            third.bind((mine, port))
            assert mine.startswith("127.") or found_addresses([port]) == 1
