"""The journeys of a call's media: TURN credentials from a node, a relay of coturn, packets through it and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from exporters.synthetic import relay
from exporters.synthetic.door import reason_of
from exporters.synthetic.leg import RelayError
from exporters.synthetic.names import ALLOCATE, CREDENTIALS, OK, RELAYS
from exporters.synthetic.snapshot import JourneyPlace
from xmpp.errors import StanzaError, XmppError

if TYPE_CHECKING:
    from exporters.synthetic.config import Relay
    from exporters.synthetic.leg import Way
    from exporters.synthetic.recorder import Recorder
    from exporters.synthetic.residents import Resident
    from exporters.synthetic.tally import Tally


class TurnJourneys:
    """Does the journeys of a call's media.

    Args:
        domain: of the test accounts.
        way: to the relays.
        recorder: gets every result.
        tally: gets what else was measured: lifetimes and packets.
    """

    def __init__(self, domain: str, way: Way, recorder: Recorder, tally: Tally) -> None:
        self._domain = domain
        self._way = way
        self._recorder = recorder
        self._tally = tally
        self._clock = asyncio.get_running_loop().time

    async def credentials(self, resident: Resident) -> relay.TurnCredentials | None:
        """Ask a node for TURN credentials, as a phone does before a call (XEP-0215)."""
        node = resident.node.name
        place, began = JourneyPlace(CREDENTIALS, node, node), self._clock()
        found: relay.TurnCredentials | None = None
        if resident.client is None:
            self._recorder.record(place, began, resident.failure)
        else:
            try:
                request = f"<services xmlns='{relay.SERVICES}'/>"
                found = relay.credentials_in(await resident.client.request("get", request, self._domain))
                seconds = self._clock() - began
                why = "" if found else "it offers no TURN service with credentials"
                self._recorder.record(place, began, OK if found else "unavailable", why, seconds=seconds)
            except StanzaError as error:
                self._recorder.record(place, began, "unavailable", f"{error}: is mod_turn_external loaded?")
            except XmppError as error:
                self._recorder.record(place, began, reason_of(error), str(error))
        self._tally.lifetime(node, found.lifetime if found else None)
        return found

    async def allocate(self, node: str, at: Relay, given: relay.TurnCredentials | None) -> None:
        """Get a relay with the credentials that a node gave."""
        place, began = JourneyPlace(ALLOCATE, node, at.name), self._clock()
        if given is None:
            self._recorder.record(place, began, "no_credentials")
            return
        try:
            await relay.allocate(at, given, self._way)
        except RelayError as error:
            self._recorder.record(place, began, error.reason, str(error))
        else:
            self._recorder.record(place, began, OK, seconds=self._clock() - began)

    async def media(self, at: Relay, transport: str, given: relay.TurnCredentials | None) -> None:
        """Send packets through a relay and back."""
        place, began = JourneyPlace(RELAYS[transport], at.name, at.name), self._clock()
        if given is None:
            self._recorder.record(place, began, "no_credentials")
            return
        try:
            media = await relay.send_media(at, transport, given, self._way)
        except RelayError as error:
            self._recorder.record(place, began, error.reason, str(error))
            return
        result = OK if media.first is not None else "timeout"
        if self._recorder.record(place, began, result, "no packet came back", seconds=media.first):
            self._tally.media((at.name, transport), media.sent, media.round_trips, media.jitter)
