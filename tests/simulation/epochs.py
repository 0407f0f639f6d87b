"""The epochs of simulated logs: which leader wrote what, and where a log has lost its end."""

from collections.abc import Mapping, Sequence

from consumer.start import Place
from schemas.record import Record


class Epochs:
    """What Kafka's cache of leader epochs says; each log begins with epoch 0.

    Args:
        logs: the records of each partition.
    """

    def __init__(self, logs: Mapping[Place, Sequence[Record]]) -> None:
        self._logs = logs
        self._begins: dict[Place, list[int]] = {place: [0] for place in logs}
        """Where each epoch begins; one that has nothing left begins where the next one does."""

    def at(self, place: Place, offset: int) -> int:
        """Return the epoch of the record at an offset."""
        return max(epoch for epoch, begin in enumerate(self._begins[place]) if begin <= offset)

    def end(self, place: Place, epoch: int) -> int:
        """Return up to where the log has records of this epoch and of earlier ones."""
        later = self._begins[place][epoch + 1 :]
        return later[0] if later else len(self._logs[place])

    def hold(self, committed: Mapping[Place, int], epochs: Mapping[Place, int]) -> bool:
        """Whether the logs have all that the group has read, as far as it can be known."""
        return all(self.end(place, epoch) >= committed[place] for place, epoch in epochs.items())

    def cut(self, place: Place, first: int) -> None:
        """Begin a new one there."""
        self._begins[place] = [min(begin, first) for begin in self._begins[place]] + [first]
