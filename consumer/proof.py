"""Proof: whether what the group has read still stands in the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from consumer.asking import Ask
from consumer.outside import Topics
from consumer.start import Place
from consumer.truncation import NO_EPOCH, Cut, cut_before


@dataclass(frozen=True, slots=True)
class Read:
    """A record that was read, and the epoch of the leader that wrote it, if that is known."""

    offset: int
    epoch: int


def epochs_now(topics: Topics, last: Mapping[Place, Read], ask: Ask) -> dict[Place, int]:
    """Return the epochs of what stands now where the `last` records stood, if anything does.

    Nothing of those whose epoch was not known. Raises what `ask` raises that asks Kafka.
    """
    known = {place: read.offset for place, read in last.items() if read.epoch != NO_EPOCH}
    return ask(partial(topics.epochs, known), "kafka") if known else {}


def cuts(
    topics: Topics,
    said: Mapping[Place, str],
    last: Mapping[Place, Read],
    placed: Mapping[Place, int],
    ask: Ask,
) -> dict[Place, Cut]:
    """Return where logs were cut, by the client's word.

    Unless the last record that the group has committed stands there still: the client may take an
    answer about one position for one about another. `placed` are the epochs of where a member reads
    on since a log was cut: it can be cut again before anything is committed. Raises what `ask`
    raises that asks Kafka.
    """
    found = {}
    for place, words in said.items():
        epoch = last[place].epoch if place in last else NO_EPOCH
        if cut := cut_before(words, min(epoch, placed.get(place, epoch))):
            found[place] = cut
    now = epochs_now(topics, {place: last[place] for place in found if place in last}, ask)
    return {at: cut for at, cut in found.items() if at not in now or now[at] != last[at].epoch}
