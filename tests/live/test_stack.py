"""The lab's servers beside Prosody do what the specification's do: HAProxy lets users in, PostgreSQL replicates."""

from __future__ import annotations

import dataclasses
import time
from http import HTTPStatus

import aiohttp

from lab.accounts import PASSWORD, create_accounts, username
from lab.postgresql import Queries
from lab.prosody import DOMAIN
from lab.stack import Lab
from lab.xmpp import Client
from lab.xmpp_transport import tls_context
from tests.live.places import endpoints


async def test_haproxy_lets_websockets_in_over_tls_and_nothing_else() -> None:
    with Lab() as lab:
        lab.start(lab.prosody, lab.haproxy)
        await create_accounts(lab.prosody.admin_socket, DOMAIN, 1)
        async with aiohttp.ClientSession() as http:
            server = dataclasses.replace(endpoints(lab), websocket_url=lab.haproxy.websocket_url)
            client = Client(server, username(1), PASSWORD, http=http)
            await client.login("websocket")
            await client.ping()
            await client.disconnect()
            url = f"https://127.0.0.1:{lab.haproxy.tls_port}/"
            async with http.get(url, ssl=tls_context(server.tls_ca), server_hostname=DOMAIN) as answer:
                assert answer.status == HTTPStatus.FORBIDDEN


def test_a_replica_streams_by_a_slot_and_postgresql_ends_though_a_client_stays() -> None:
    with Lab() as lab:
        queries = Queries(lab.postgresql)
        lab.start(lab.postgresql, lab.replica, queries)
        slots = "SELECT slot_name || ' ' || active FROM pg_replication_slots"
        assert lab.postgresql.run("psql", *lab.postgresql.connection, "-Atc", slots) == "replica true\n"
        replicated = ["psql", *lab.replica.connection, "-Atc", "SELECT count(*) FROM pgbench_branches"]
        deadline = time.monotonic() + 20
        while lab.replica.run(replicated[0], *replicated[1:]) != "1\n":
            assert time.monotonic() < deadline
        connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'"
        while lab.postgresql.run("psql", *lab.postgresql.connection, "-Atc", connected) == "0\n":
            assert time.monotonic() < deadline
        lab.postgresql.patience = 5.0
        lab.postgresql.stop()
        assert "database system is shut down" in lab.postgresql.last_words()
        queries.kill()  # its server went away under it
