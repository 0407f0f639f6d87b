"""What simulated brokers lose: offsets of the group, and with them the end of a log."""

from collections.abc import Callable, Mapping
from random import Random

from consumer.start import Place
from schemas.record import Record
from tests.simulation.broker import Broker
from tests.simulation.ledger import Books


def forget_offsets(
    broker: Broker, books: Books, chance: Random, firsts: Mapping[Place, int]
) -> None:
    """The coordinator goes on with a part of its log, and gives the group offsets of long ago.

    Only where the ledger knows of all that is published: the last batches that it does not know of
    yet are published again, by rule. So are dead letters: nothing goes back before the `firsts`.
    """
    for place, at in list(broker.committed.items()):
        known = books.positions.get(place)
        if known is not None and known.published_offset == at and at > firsts.get(place, 0):
            broker.committed[place] = chance.randrange(firsts.get(place, 0), at)
    # A standby that knew less of it would have both of them at fault.
    books.before.clear()
    # Nor does it know the members: they join again, and ask where to read.
    for name in list(broker.sessions):
        broker.leave(name)


def cut_logs(
    broker: Broker,
    logs: Mapping[Place, list[Record]],
    chance: Random,
    before: Mapping[Place, int],
    other: Callable[[Place, int], Record],
) -> list[Record]:
    """The logs have lost their ends, too, and `other` records stand there now; return the former.

    Only where offsets were forgotten, of what the group had committed `before`, and from there on:
    the events of all that is out, and what was not read yet was never told to be accepted.
    """
    lost: list[Record] = []
    for place, at in before.items():
        now = broker.committed[place]
        if now < at:
            log = logs[place]
            first = chance.randrange(now, at)
            lost += log[first:]
            log[first:] = [other(place, offset) for offset in range(first, len(log))]
    return lost
