"""Records what came of each journey: counts it, and logs it when its result changes. It does no journey."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from exporters.synthetic.names import OK, RESULTS

if TYPE_CHECKING:
    from exporters.synthetic.pulse import Pulse
    from exporters.synthetic.snapshot import JourneyPlace
    from exporters.synthetic.tally import Tally

_log = logging.getLogger(__name__)


class Recorder:
    """Records the results of all journeys.

    Args:
        tally: counts them.
        pulse: knows whether the exporter itself ran; a journey during which it stood still is "suspended".
    """

    def __init__(self, tally: Tally, pulse: Pulse) -> None:
        self._tally = tally
        self._pulse = pulse
        self._told: dict[JourneyPlace, str] = {}  # the last result that was logged

    def record(
        self, place: JourneyPlace, began: float, result: str, text: str = "", *, seconds: float | None = None
    ) -> bool:
        """Count one journey, and log it if its result has changed; return whether the exporter ran all the while.

        Args:
            place: which journey, and between which places.
            began: when, by the loop's clock.
            result: of `names.RESULTS`.
            text: for the log, if it failed.
            seconds: it took, None if that says nothing.
        """
        stalled = self._pulse.stalled_since(began)
        result = "suspended" if stalled else result
        self._tally.record(place, result, seconds)
        before = self._told.get(place, OK)
        if result != before:
            fields = {"journey": place.journey, "from": place.origin, "to": place.to, "result": result}
            if result == OK:
                _log.info("journey succeeds again", extra=fields)
            else:
                _log.warning("journey failed: %s", text or RESULTS[result], extra=fields)
            self._told[place] = result
        return not stalled
