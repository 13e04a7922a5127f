"""How many jobs are in which state, and how many ended in which hour and on which day: a filter that counts."""

from ..filters import Application, hookimpl
from ..models import State

HOUR = 3600  # seconds
DAY = 86400
COUNTED_BY_TIME = (State.SUCCEEDED, State.FAILED, State.DELETED)


class Statistics:
    """Counts in the transaction that changes the state, so that no crash parts the two."""

    @hookimpl
    def state_applied(self, application: Application) -> None:
        change, queue, state = application.change, application.job["queue"], application.state
        if application.previous is not None:
            change.count(queue, application.previous.value, -1)
        change.count(queue, state.value, +1)
        if state in COUNTED_BY_TIME:
            change.count(queue, f"hour_{state}", +1, int(change.now // HOUR) * HOUR)
            change.count(queue, f"day_{state}", +1, int(change.now // DAY) * DAY)
