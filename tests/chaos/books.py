"""The generator's own books: what was sent, what was accepted, and what must come of it."""

import json
import random
import threading
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum

import httpx

POST_TIMEOUT_SECONDS = 20.0
RUNS = 40
LARGEST_POST = 20
REPEAT_SHARE = 0.3
REPEATED = 200
PAUSE_SECONDS = 0.03
REFUSED_PAUSE_SECONDS = 0.2
STORY = "tell me a story "
CONTENT_BYTES = 640


class Fate(StrEnum):
    """What must become of a call."""

    RECEIPT = "receipt"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    PARKED = "parked"


WEIGHTS = {Fate.RECEIPT: 80, Fate.DEFERRED: 8, Fate.SKIPPED: 8, Fate.PARKED: 4}


@dataclass(frozen=True)
class Call:
    """One call: its ids, its fate, its cost as the text that stands in the JSON, its content.

    `hold` is what LiteLLM's plugin has put into its metadata.
    """

    response_id: str
    call_id: str
    run_id: str
    fate: Fate
    cost: str
    content_bytes: int = CONTENT_BYTES
    account: str = "acct-chaos"
    hold: str | None = None

    def element(self) -> bytes:
        """The callback of this call; the same bytes each time."""
        # The contract needs one, so a call without is parked.
        statuses = {Fate.SKIPPED: "failure", Fate.PARKED: None}
        status = statuses.get(self.fate, "success")
        held = {"billing_hold": self.hold} if self.hold else {}
        payload = {
            "id": self.response_id,
            "litellm_call_id": self.call_id,
            "call_type": "acompletion",
            "status": status,
            "response_cost": "@cost@",
            "model_group": "gpt-4o-mini",
            "custom_llm_provider": "openai",
            "prompt_tokens": 120,
            "completion_tokens": 30,
            "startTime": 1_795_312_949.1,
            "endTime": 1_795_312_950.2,
            "end_user": self.account,
            "metadata": {"spend_logs_metadata": {"run_id": self.run_id, **held}},
            "messages": [{"role": "user", "content": STORY * (self.content_bytes // len(STORY))}],
        }
        return json.dumps(payload).replace('"@cost@"', self.cost).encode()


class Books:
    """Makes calls from a seed and remembers which of them the gateway took.

    `accepted` holds every call of a POST that was answered 202; `doubtful` those whose POST broke
    off without an answer or got another one: they may or may not be there. Both are of the present
    round; `turn_over` begins a new one, whose calls have runs of their own. `prefix` is in every
    name that is made here, and nowhere else.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self.prefix = f"{seed}-{uuid.uuid4().hex[:8]}"
        self._made = 0
        self._round = 0
        self._old: list[Call] = []
        self._known_runs = set(self._runs())
        self._lock = threading.Lock()
        self.accepted: dict[str, Call] = {}
        self.doubtful: dict[str, Call] = {}

    def make(self, fate: Fate | None = None, content_bytes: int = CONTENT_BYTES) -> Call:
        """A new call, of a random fate unless one is given."""
        with self._lock:
            self._made += 1
            number = self._made
            chosen = fate or self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            digits = self._random.randrange(1, 10**12)
            run = self._random.randrange(RUNS)
        cost = f"0.{digits:012}" if chosen is Fate.RECEIPT else "0.0"
        name = f"{self.prefix}-{number}"
        return Call(f"resp-{name}", f"call-{name}", self._runs()[run], chosen, cost, content_bytes)

    def _runs(self) -> list[str]:
        return [f"run-{self.prefix}-{self._round}-{number}" for number in range(RUNS)]

    @property
    def runs(self) -> list[str]:
        """The runs of the present round."""
        return self._runs()

    def turn_over(self) -> None:
        """Begin a round: the calls of the last one may still be repeated."""
        with self._lock:
            self._old = self._small()
            self._round += 1
            self._known_runs = set(self._runs())
            self.accepted, self.doubtful = {}, {}

    def post_of(self, size: int) -> list[Call]:
        """New calls and, now and then, repeats of old ones, in any order."""
        calls = [self.make() for _ in range(size)]
        with self._lock:
            if self._random.random() < REPEAT_SHARE:
                old = [*self._old, *self._small()]
                calls += self._random.choices(old, k=min(3, len(old)))
            self._random.shuffle(calls)
        return calls

    def _small(self) -> list[Call]:
        """What was accepted last and may be repeated: a giant would hold up the rest."""
        last = list(self.accepted.values())[-REPEATED:]
        return [call for call in last if call.content_bytes == CONTENT_BYTES]

    def enter(self, calls: list[Call], *, taken: bool) -> None:
        """Write down how a POST ended."""
        with self._lock:
            for call in calls:
                if call.run_id not in self._known_runs:
                    continue  # a repeat from an earlier round, which is in its books
                if taken:
                    self.accepted[call.response_id] = call
                    self.doubtful.pop(call.response_id, None)
                elif call.response_id not in self.accepted:
                    self.doubtful[call.response_id] = call

    def size(self) -> int:
        """A random size for the next POST."""
        with self._lock:
            return self._random.randint(1, LARGEST_POST)


class Sender:
    """Posts calls as LiteLLM does: in lists, never twice because it was refused."""

    def __init__(self, url: str, token: str, books: Books) -> None:
        self._url = f"{url}/v1/callbacks/litellm"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.books = books
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def post(self, client: httpx.Client, calls: list[Call]) -> bool:
        """Post one list; whether it was taken."""
        body = b"[" + b", ".join(call.element() for call in calls) + b"]"
        try:
            status = client.post(self._url, content=body, headers=self._headers).status_code
        except httpx.TransportError:
            status = 0
        self.books.enter(calls, taken=status == httpx.codes.ACCEPTED)
        return status == httpx.codes.ACCEPTED

    def post_until_taken(self, calls: list[Call], deadline_seconds: float) -> None:
        """Post the same list until the gateway takes it."""
        until = time.monotonic() + deadline_seconds
        with self.client() as client:
            while not self.post(client, calls):
                if time.monotonic() > until:
                    raise TimeoutError(f"the gateway took nothing for {deadline_seconds} s")
                time.sleep(REFUSED_PAUSE_SECONDS)

    @staticmethod
    def client() -> httpx.Client:
        """What `post` may be called with; one for each thread."""
        return httpx.Client(timeout=POST_TIMEOUT_SECONDS, trust_env=False)

    def start(self) -> None:
        """Begin to post without end."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="sender")
        self._thread.start()

    def _run(self) -> None:
        with self.client() as client:
            while not self._stop.wait(PAUSE_SECONDS):
                if not self.post(client, self.books.post_of(self.books.size())):
                    self._stop.wait(REFUSED_PAUSE_SECONDS)

    def stop(self) -> None:
        """End after the POST in hand."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(POST_TIMEOUT_SECONDS + 5)
            assert not self._thread.is_alive(), "the sender hangs in a POST"
