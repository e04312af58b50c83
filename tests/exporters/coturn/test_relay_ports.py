"""The relay ports in use are the process's own UDP sockets in the range, and nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from exporters.coturn.relay_ports import RelayPorts

EVERYTHING = range(1024, 65536)


def udp(address: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made


def port_of(made: socket.socket) -> int:
    return int(made.getsockname()[1])


def ports() -> set[int]:
    return set(RelayPorts(EVERYTHING).read(os.getpid(), os.getuid()).values())


def test_open_sockets_are_seen_and_closed_ones_are_not() -> None:
    relays = RelayPorts(EVERYTHING)
    with udp() as first, udp("::1") as second:
        found = relays.read(os.getpid(), os.getuid())
        assert found[os.fstat(first.fileno()).st_ino] == port_of(first)
        assert found[os.fstat(second.fileno()).st_ino] == port_of(second)
        first.close()
        with udp() as third:  # under the file descriptor the first one had
            again = relays.read(os.getpid(), os.getuid()).values()
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
        assert foreign in RelayPorts(EVERYTHING).everyones().values()


def test_only_the_range_and_the_relay_address_count() -> None:
    with udp() as inside:
        port = port_of(inside)
        assert list(RelayPorts(range(port, port + 1), (), ["127.0.0.1"]).read(os.getpid(), None).values()) == [port]
        assert RelayPorts(range(port, port + 1), [port]).read(os.getpid(), None) == {}
        assert RelayPorts(range(port, port + 1), (), ["127.0.0.2"]).read(os.getpid(), None) == {}
        assert port not in RelayPorts(range(1024, port)).read(os.getpid(), None).values()


def test_a_process_whose_files_may_not_be_read_is_known_by_its_user() -> None:
    nobody = 2**22 + 1  # above the largest process id
    with udp() as ours:
        assert port_of(ours) in RelayPorts(EVERYTHING).read(nobody, os.getuid()).values()
        assert RelayPorts(EVERYTHING).read(nobody, os.getuid() + 1) == {}
