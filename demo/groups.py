"""The embedded broker's consumer groups, which keep a member that was killed for ever.

A broker gives a member up that is silent for a session timeout. This one never does: whoever joins
the group then waits for the dead one without end, and what the dead one was assigned is read by
nobody. A second living member of a cooperative group waits as well. So the supervisor looks at the
groups once a second and has their members leave where nothing moves. Those that live join again
within a heartbeat, as after any rebalance.
"""

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from demo.settings import LOOPBACK

_T = TypeVar("_T")

# Kafka's protocol: the keys of four requests and one, all in their oldest form.
_LIST_OFFSETS, _OFFSET_FETCH, _LEAVE_GROUP, _DESCRIBE_GROUPS, _LIST_GROUPS = 2, 9, 13, 15, 16
_LATEST: Final = -1
_REBALANCES: Final = ("PreparingRebalance", "CompletingRebalance")
_TIMEOUT_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 4.0
_PATIENCE_WITH_OTHERS_SECONDS: Final = 30.0


class Waiting(NamedTuple):
    """Records that wait in a partition beyond what the group has committed."""

    topic: str
    partition: int
    committed: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group as the broker describes it."""

    name: str
    state: str
    members: tuple[str, ...]
    waiting: frozenset[Waiting] = frozenset()


class Watch:
    """Decides, without the broker, where nothing moves."""

    def __init__(self, own: str, patience_seconds: float, with_others_seconds: float) -> None:
        """Take the name of the consumer's group, and how long to wait for it and for others."""
        self._own = own
        self._patience = patience_seconds
        self._with_others = with_others_seconds
        self._since: dict[tuple[str, Waiting | None], float] = {}
        self._tried: set[tuple[str, Waiting | None]] = set()

    def stuck(self, groups: Iterable[Group], now: float) -> list[Group]:
        """Return the groups whose members should leave.

        A rebalance that does not end is one, each time anew; one in which the same records wait
        though nobody rebalances, once: it may be the database that is away.
        """
        groups = list(groups)
        signs = {group.name: list(self._signs(group)) for group in groups}
        current = {sign for found in signs.values() for sign in found}
        self._since = {sign: self._since.get(sign, now) for sign in current}
        self._tried &= current
        found = []
        for group in groups:
            patience = self._patience if group.name == self._own else self._with_others
            late = {sign for sign in signs[group.name] if now - self._since[sign] > patience}
            if late - self._tried:
                found.append(group)
                self._tried |= {sign for sign in late if sign[1] is not None}
                self._since |= dict.fromkeys(late, now)
        return found

    def _signs(self, group: Group) -> Iterator[tuple[str, Waiting | None]]:
        if group.state in _REBALANCES:
            yield group.name, None
        # With one member, which the supervisor knows, nobody else could read on.
        elif group.name == self._own and len(group.members) > 1:
            yield from ((group.name, waiting) for waiting in group.waiting)


class Groups:
    """Keeps the groups of one embedded broker. Not safe for threads."""

    def __init__(
        self,
        port: int,
        own: str,
        patience_seconds: float = _PATIENCE_SECONDS,
        with_others_seconds: float = _PATIENCE_WITH_OTHERS_SECONDS,
    ) -> None:
        self._port = port
        self._own = own
        self._watch = Watch(own, patience_seconds, with_others_seconds)

    def mind(self, now: float) -> list[str]:
        """Look once, at the time `now` of a monotonic clock.

        Returns:
            What was done, in sentences. Nothing while the broker does not answer: its end is the
            supervisor's to tell.
        """
        try:
            return [self._dissolve(group) for group in self._watch.stuck(self._groups(), now)]
        except (OSError, struct.error):
            return []

    def release(self) -> None:
        """Have every member of the consumer's group leave: one of them has died."""
        try:
            for group in self._described([self._own]):
                self._dissolve(group)
        except (OSError, struct.error):
            return

    def _dissolve(self, group: Group) -> str:
        for member in group.members:
            self._call(_LEAVE_GROUP, 0, _text(group.name) + _text(member))
        return f"group {group.name} did not move: let go of {len(group.members)} member(s)"

    def _groups(self) -> list[Group]:
        answer = self._call(_LIST_GROUPS, 0, b"")
        answer.number("h")
        names = [name for name, _ in answer.list_of(lambda: (answer.text(), answer.text()))]
        return self._described(names)

    def _described(self, names: Sequence[str]) -> list[Group]:
        answer = self._call(_DESCRIBE_GROUPS, 0, _list_of(map(_text, names)))
        return answer.list_of(lambda: self._group(answer))

    def _group(self, answer: "_Answer") -> Group:
        answer.number("h")
        name, state, _, _ = (answer.text() for _ in range(4))
        members = answer.list_of(lambda: _member(answer))
        several = name == self._own and len(members) > 1
        places = [place for _, assigned in members for place in assigned]
        return Group(
            name=name,
            state=state,
            members=tuple(member for member, _ in members),
            waiting=self._waiting(name, places) if several else frozenset(),
        )

    def _waiting(self, group: str, places: Sequence[tuple[str, int]]) -> frozenset[Waiting]:
        asked = _list_of(_text(topic) + _list_of([_int(place)]) for topic, place in places)
        answer = self._call(_OFFSET_FETCH, 1, _text(group) + asked)
        committed = answer.places(lambda: (answer.number("q"), answer.text(), answer.number("h")))
        at_end = struct.pack(">q", _LATEST)
        asked = _list_of(_text(topic) + _list_of([_int(place) + at_end]) for topic, place in places)
        ends = self._call(_LIST_OFFSETS, 1, _int(-1) + asked)
        latest = ends.places(lambda: (ends.number("h"), ends.number("q"), ends.number("q")))
        return frozenset(
            Waiting(*place, committed[place][0])
            for place, (_, _, end) in latest.items()
            if place in committed and max(committed[place][0], 0) < end
        )

    def _call(self, key: int, version: int, body: bytes) -> "_Answer":
        request = struct.pack(">hhi", key, version, 0) + _text("embedded-stack") + body
        with socket.create_connection((LOOPBACK, self._port), _TIMEOUT_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answers = connection.makefile("rb")
            (size,) = struct.unpack(">i", answers.read(4))
            return _Answer(answers.read(size)[4:])


class _Answer:
    """Reads an answer from its beginning; `struct.error` where it is shorter than it says."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f">{form}", self._content, self._at)
        self._at += struct.calcsize(f">{form}")
        return int(value)

    def bytes_of(self, form: str) -> bytes:
        length = max(self.number(form), 0)
        self._at += length
        return self._content[self._at - length : self._at]

    def text(self) -> str:
        return self.bytes_of("h").decode(errors="replace")

    def list_of(self, read: Callable[[], _T]) -> list[_T]:
        return [read() for _ in range(max(self.number("i"), 0))]

    def places(self, read: Callable[[], _T]) -> dict[tuple[str, int], _T]:
        """Read what an answer says by topic and partition."""

        def topic() -> list[tuple[tuple[str, int], _T]]:
            name = self.text()
            return self.list_of(lambda: ((name, self.number("i")), read()))

        return dict(pair for pairs in self.list_of(topic) for pair in pairs)


def _member(answer: _Answer) -> tuple[str, list[tuple[str, int]]]:
    """Read a member: its id, and the partitions that are assigned to it."""
    member, _, _ = (answer.text() for _ in range(3))
    answer.bytes_of("i")
    assignment = answer.bytes_of("i")
    if not assignment:
        return member, []
    inner = _Answer(assignment)
    inner.number("h")
    topics = inner.list_of(lambda: (inner.text(), inner.list_of(lambda: inner.number("i"))))
    return member, [(topic, place) for topic, places in topics for place in places]


def _int(number: int) -> bytes:
    return struct.pack(">i", number)


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack(">h", len(content)) + content


def _list_of(parts: Iterable[bytes]) -> bytes:
    content = list(parts)
    return _int(len(content)) + b"".join(content)
