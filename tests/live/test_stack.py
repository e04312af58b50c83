"""The lab's servers together do what the specification's do: HAProxy lets users in, PostgreSQL keeps and replicates."""

from __future__ import annotations

import dataclasses
import re
import time
from http import HTTPStatus

import aiohttp

from lab.servers.postgresql import Queries
from lab.servers.prosody import DATABASE, DOMAIN
from lab.stack import SLEEPERS, USERS, Lab
from lab.users.accounts import PASSWORD, create_accounts, username
from xmpp.client import XmppClient
from xmpp.transport import trusting

TCP_USERS = 5  # the generator's default


async def test_haproxy_lets_websockets_in_over_tls_and_nothing_else() -> None:
    with Lab() as lab:
        lab.start(*(node.prosody for node in lab.nodes), lab.haproxy)
        await create_accounts(lab.prosody.admin_socket, DOMAIN, 1)
        async with aiohttp.ClientSession() as http:
            server = dataclasses.replace(lab.prosody.endpoints(), websocket_url=lab.haproxy.websocket_url)
            client = XmppClient(server, username(1), PASSWORD, http=http)
            await client.login("websocket")
            await client.ping()
            await client.disconnect()
            url = f"https://127.0.0.1:{lab.haproxy.tls_port}/"
            async with http.get(url, ssl=trusting(lab.directory / "ca.pem"), server_hostname=DOMAIN) as answer:
                assert answer.status == HTTPStatus.FORBIDDEN


def test_users_reach_both_nodes_their_accounts_the_replica_and_an_alert_its_receiver() -> None:
    with Lab() as lab:
        for _ in lab.start_all():
            pass
        deadline = time.monotonic() + 60
        sessions = 'prosody_c2s_sessions{transport="websocket"} > 0'
        while {one.labels["instance"] for one in lab.prometheus.query(sessions)} != {"prosody1", "prosody2"}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        accounts = "SELECT count(DISTINCT \"user\") FROM prosody WHERE store = 'accounts'"
        assert int(lab.replica.ask(accounts, DATABASE)) == USERS + TCP_USERS + SLEEPERS + len(lab.synthetic.passwords)
        while not (told := lab.receivers.notifications()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert (told[0].receiver, told[0].alert, told[0].resolved) == ("deadmansswitch", "Watchdog", False)
        while "unknown" in (health := rule_health(lab)).values():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert {rule: said for rule, said in health.items() if said != "ok"} == {}
        assert not re.findall(
            r"^.*level=(?:warn|error).*$", lab.prometheus.log.read_text(), re.MULTILINE | re.IGNORECASE
        )


def rule_health(lab: Lab) -> dict[str, str]:
    """Tell what Prometheus says of each rule: unknown until it was evaluated, then ok or its error."""
    groups = lab.prometheus.api.client.ask("api/v1/rules")["data"]["groups"]
    return {
        f"{rule['name']} {rule.get('labels')}": rule.get("lastError") or rule["health"]
        for group in groups
        for rule in group["rules"]
    }


def test_a_replica_streams_by_a_slot_and_postgresql_ends_though_a_client_stays() -> None:
    with Lab() as lab:
        queries = Queries(lab.postgresql)
        lab.start(lab.postgresql, lab.replica, queries)
        slots = "SELECT slot_name || ' ' || active FROM pg_replication_slots"
        assert lab.postgresql.ask(slots) == "replica true"
        deadline = time.monotonic() + 20
        while lab.replica.ask("SELECT count(*) FROM pgbench_branches") != "1":
            assert time.monotonic() < deadline
        connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'"
        while lab.postgresql.ask(connected) == "0":
            assert time.monotonic() < deadline
        lab.postgresql.patience = 5.0
        lab.postgresql.stop()
        assert "database system is shut down" in lab.postgresql.last_words()
        queries.kill()  # its server went away under it
