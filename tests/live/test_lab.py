"""The lab's real servers run the specification's configuration, and Prometheus sees them under the nodes' names."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest

from lab.running.server import http_answers
from lab.servers.prosody import DOMAIN, Prosody
from lab.stack import Lab

SPECIFIED = {  # Appendix A, read back from the running server
    "c2s_timeout": "300",
    "smacks_hibernation_time": "30",
    "statistics_interval": "30",
    "authentication": "internal_hashed",
    "websocket_frame_buffer_limit": "32768",
}


def ask(prosody: Prosody, expression: str) -> str:
    """Evaluate a Lua expression in a running Prosody, through its admin socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(prosody.admin_socket))
        connection.sendall(
            b"<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='http://etherx.jabber.org/streams'>"
            + f"<repl-input>&gt; return true, tostring({expression})</repl-input>".encode()
        )
        answer = ""
        while "</repl-result>" not in answer:
            answer += connection.recv(65536).decode()
    return answer.rpartition("OK: ")[2].partition("<")[0]


def setting(name: str) -> str:
    """Return the Lua expression of a setting of the lab's virtual host."""
    return f"require 'prosody.core.configmanager'.get('{DOMAIN}', '{name}')"


def test_prosody_runs_the_specified_configuration_with_loopbacks_differences() -> None:
    with Lab() as lab:
        lab.prosody.start()
        assert {name: ask(lab.prosody, setting(name)) for name in SPECIFIED} == SPECIFIED
        assert ask(lab.prosody, setting("network_settings") + ".read_timeout") == "60"
        assert ask(lab.prosody, setting("ssl") + ".ciphers") == "ECDHE+AESGCM:DHE+AESGCM"
        assert ask(lab.prosody, setting("ssl") + ".dhparam") == "nil"
        assert ask(lab.prosody, setting("storage")) == "internal"
        assert " error\t" not in lab.prosody.log.read_text()
        files = [path for path in Path(ask(lab.prosody, "prosody.paths.data")).iterdir() if path.is_socket()]
        assert files == [lab.prosody.admin_socket]


def test_overrides_win_over_both_files_and_can_be_changed_with_a_restart() -> None:
    with Lab(prosody_config="smacks_hibernation_time = 2\nnetwork_settings = { read_timeout = 3 }") as lab:
        lab.prosody.start()
        assert ask(lab.prosody, setting("smacks_hibernation_time")) == "2"
        assert ask(lab.prosody, setting("network_settings") + ".read_timeout") == "3"
        lab.prosody.config = f'VirtualHost "{DOMAIN}"\nmodules_enabled = {{ "motd" }}'
        lab.prosody.restart()
        modules = f"require 'prosody.core.modulemanager'.is_loaded('{DOMAIN}', '%s')"
        assert ask(lab.prosody, modules % "motd") == "true"
        assert ask(lab.prosody, modules % "smacks") == "true"
        assert ask(lab.prosody, setting("smacks_hibernation_time")) == "30"


def test_the_certificate_of_the_client_port_is_trusted_through_the_labs_authority() -> None:
    with Lab() as lab:
        lab.prosody.start()
        context = ssl.create_default_context(cafile=lab.directory / "ca.pem")
        with socket.create_connection(("127.0.0.1", lab.prosody.c2s_port), timeout=10) as plain:
            plain.sendall(
                b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
                b" to='commeazy.com' version='1.0'>"
            )
            seen = b""
            while b"</stream:features>" not in seen:
                seen += plain.recv(65536)
            plain.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            assert b"<proceed" in plain.recv(65536)
            with context.wrap_socket(plain, server_hostname=DOMAIN) as secured:
                assert secured.version() in {"TLSv1.2", "TLSv1.3"}


def test_two_stacks_run_side_by_side() -> None:
    with Lab() as first, Lab() as second:
        for lab in (first, second):
            lab.start(lab.prosody, lab.prosody_exporter, lab.prometheus)
        assert ask(first.prosody, "prosody.paths.data") == str(first.prosody.directory)
        assert ask(second.prosody, "prosody.paths.data") == str(second.prosody.directory)


def test_prometheus_knows_a_server_by_its_nodes_name_and_notices_when_it_dies() -> None:
    with Lab() as lab:
        lab.start(lab.prosody, lab.prosody_exporter, lab.prometheus)
        _until(lab, 'up{job="prosody", instance="prosody1"} == 1')
        assert {(target.job, target.instance) for target in lab.prometheus.targets()} == {
            ("prosody", "prosody1"),
            ("prometheus", "localhost"),
        }
        lab.prosody_exporter.kill()
        _until(lab, 'up{job="prosody", instance="prosody1"} == 0')
        lab.prosody_exporter.start()
        _until(lab, 'up{job="prosody", instance="prosody1"} == 1')


@pytest.mark.parametrize("name", ["prosody", "prometheus", "prosody_exporter"])
def test_the_servers_close_their_ports_at_an_orderly_end(name: str) -> None:
    with Lab() as lab:
        lab.start(lab.prosody, lab.prosody_exporter, lab.prometheus)
        addresses = {
            "prosody": f"http://127.0.0.1:{lab.prosody.http_port}/",
            "prometheus": lab.prometheus.url,
            "prosody_exporter": lab.prosody_exporter.url,
        }
        assert http_answers(addresses[name])
        getattr(lab, name).stop()
        assert not http_answers(addresses[name])


def _until(lab: Lab, expression: str) -> None:
    """Wait until Prometheus has an answer to the expression; the test's own timeout is the end of patience."""
    while not lab.prometheus.query(expression):
        time.sleep(0.1)
