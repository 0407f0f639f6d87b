"""What each gateway does when something goes wrong: seen, not said; see `instead`."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from schemas.topics import load_topics
from tests.bench.draining import DrainError
from tests.bench.instead import BROKEN, LONG, Seen
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.services import Gateway, Services
from tests.bench.topic import read_all
from tests.observers.deployment import CALLBACKS_PATH
from tests.waiting import eventually

_PER_POST: Final = 100
_POSTS: Final = 20
"""Answered before it is killed."""
_SENDERS: Final = 4

Start = Callable[[Services, str], AbstractContextManager[Gateway]]


@dataclass(frozen=True)
class _Door:
    """A gateway with topics of its own."""

    services: Services
    prefix: str
    gateway: Gateway

    def post(self, *elements: bytes) -> int:
        """The status of a post of these callbacks."""
        url = f"http://127.0.0.1:{self.gateway.port}{CALLBACKS_PATH}"
        headers = {
            "Authorization": f"Bearer {self.gateway.token}", "Content-Type": "application/json"
        }  # fmt: skip
        body = b"[" + b", ".join(elements) + b"]"
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.post(url, content=body, headers=headers).status_code

    def callbacks(self) -> list[bytes | None]:
        """What is on the callbacks topic."""
        topic = load_topics(self.prefix).callbacks.name
        return [message.value() for message in read_all(self.services.bootstrap, topic)]

    def dead_letters(self) -> int:
        """How many there are."""
        topic = load_topics(self.prefix).dead_letters.name
        return len(read_all(self.services.bootstrap, topic))


def watch(services: Services, name: str, start: Start) -> Seen:
    """Have it all happen to a gateway. Raises `DrainError` where it cannot be said what it did."""
    with _door(services, start) as door:
        killed = _kill(door)
    with _door(services, start) as door:
        broken = _break(door)
    with _door(services, start) as door:
        money = _charge(door)
    with _door(services, start) as door:
        contradicted = _contradict(door)
    return Seen(name, killed, broken, money, contradicted, "what is on the topic")


@contextmanager
def _door(services: Services, start: Start) -> Iterator[_Door]:
    with services.topics() as prefix, start(services, prefix) as gateway:
        yield _Door(services, prefix, gateway)


def _kill(door: _Door) -> str:
    """SIGKILL while posts are on their way; whether all that was answered is on the topic."""
    calls, answered, ended = Payloads("killed", REDACTED), list[int](), threading.Event()

    def send(sender: int) -> None:
        number = sender
        while not ended.is_set():
            first = number * _PER_POST
            try:
                status = door.post(*(calls.element(first + each) for each in range(_PER_POST)))
            except httpx.TransportError:
                return
            if status == httpx.codes.ACCEPTED:
                answered.append(number)
            number += _SENDERS

    senders = [threading.Thread(target=send, args=(each,)) for each in range(_SENDERS)]
    for each in senders:
        each.start()
    try:
        eventually(lambda: len(answered) >= _POSTS, "posts to be answered")
        door.gateway.process.kill()
    finally:
        ended.set()
        for each in senders:
            each.join()
    found = {json.loads(value or b"null")["litellm_call_id"] for value in door.callbacks()}
    numbers = [number * _PER_POST + each for number in answered for each in range(_PER_POST)]
    lost = sum(calls.names(number)[1] not in found for number in numbers)
    return "nothing lost that was answered" if not lost else f"{lost} answered callbacks lost"


def _break(door: _Door) -> str:
    """A list whose second element is cut off: its first one, its third one."""
    calls = Payloads("broken", REDACTED)
    status = door.post(calls.element(0), BROKEN, calls.element(1))
    stored, parked = len(door.callbacks()), door.dead_letters()
    kept = "the rest is kept as a dead letter" if parked else "nothing of the rest is kept"
    return f"answers {status}; {stored} of its 2 neighbours accepted; {kept}"


def _charge(door: _Door) -> str:
    """A cost of 25 digits."""
    sent = Payloads("money", REDACTED).element(0, LONG)
    if (status := door.post(sent)) != httpx.codes.ACCEPTED:
        raise DrainError(f"a cost of many digits was answered with {status}")
    (stored,) = door.callbacks()
    if stored == sent:
        return "byte for byte what was sent"
    kept = "kept" if LONG.encode() in (stored or b"") else "changed"
    return f"written anew, the cost {kept}"


def _contradict(door: _Door) -> str:
    """The same call a second time, with another cost."""
    calls = Payloads("contradicted", REDACTED)
    for cost in ("0.001", "0.002"):
        door.post(calls.element(0, cost))
    return f"{len(door.callbacks())} of 2 are on the topic"
