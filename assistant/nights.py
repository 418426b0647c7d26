"""The day's side of a night: asking for one. It is a row in the ledger; whoever runs nights for this home finds it
there.
"""

from __future__ import annotations

from assistant.turn import Assistant
from memory.records import Night, NightStatus


def request_night(assistant: Assistant) -> Night:
    """Queue a night. One that was cut off is queued again rather than a new one, and one that waits already is
    returned.

    Raises:
        AlreadyRunning: one runs; the error names who holds the lease.
        NotRemembered: the ledger can't be written.
    """
    return assistant.ledger.request_night(
        Night(assistant.new_id(), NightStatus.QUEUED, assistant.clock(), seed=0, settings={})
    )
