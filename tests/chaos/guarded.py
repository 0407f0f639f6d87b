"""Calls that the spend guard is asked about first, as LiteLLM's plugin asks.

Each round has two accounts. The prepaid one has credits for some of its calls; while the guard does
not answer, none are made for it. The postpaid one has no limit, and its calls are made without a
hold then.
"""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final

import httpx
import psycopg

from tests.chaos.books import Call, Fate, Sender
from tests.chaos.holds import ENDS, Asked, Plan, Promises, held, misheld_in, misspent
from tests.processes.guarding import ADMIN_TOKEN, TOKEN, bearer
from tests.waiting import NET_SECONDS, eventually

GUARD_LINK: Final = "spend guard to database"
FAILED_HOLD_SECONDS: Final = 1
"""For so long the hold of a failed call waits for a fallback."""
GUARD_SETTINGS: Final[Mapping[str, str]] = {
    "SPEND_GUARD_TOKENS": TOKEN,
    "SPEND_GUARD_ADMIN_TOKENS": ADMIN_TOKEN,
    "SPEND_GUARD_HOLD_S": "1",
    "SPEND_GUARD_SWEEP_S": "0.25",
}
"""Holds that nobody asks for longer are over soon."""
CLIENTS: Final = 3
PAUSE_SECONDS: Final = 0.05
ASK_SECONDS: Final = 1.0
LONG_SECONDS: Final = 3_600
"""Longer than any round: such a hold ends because of its call and of nothing else."""
SHORT_SHARE: Final = 0.3
GRANTED: Final = 500_000
CREDITS_PER_USD: Final = 10_000_000
SPARE: Final = 100_000
"""At most so much more is held for a call than it costs."""
WEIGHTS: Final = {
    Plan.MADE: 60,
    Plan.FAILED: 10,
    Plan.FALLBACK: 10,
    Plan.NEVER: 10,
    Plan.FORGOTTEN: 10,
}


def charged(call: Call) -> int:
    """The credits of its receipt."""
    return ceil(Decimal(call.cost) * CREDITS_PER_USD)


class Guarded:
    """Clients that ask before each call. `start` begins a round, `stop` and `settle` end it.

    Args:
        url: of the spend guard.
        sender: who posts their callbacks and keeps the books of them.
        seed: of the load.
    """

    def __init__(self, url: str, sender: Sender, seed: int) -> None:
        self._url = url
        self._sender = sender
        self._chance = random.Random(seed)  # noqa: S311 - a load, no secret
        self._round = 0
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._begin()

    def _begin(self) -> None:
        self._round += 1
        name = f"guarded-{self._sender.books.prefix}-{self._round}"
        self.prepaid, self.postpaid = f"{name}-prepaid", f"{name}-postpaid"
        self._promises = {self.prepaid: Promises(GRANTED), self.postpaid: Promises(None)}
        self._asked: list[Asked] = []
        self._answers: list[int] = []
        self._faults: list[Exception] = []

    @property
    def answers(self) -> Counter[int]:
        """How often each status was answered in this round; 0 stands for no answer."""
        return Counter(self._answers)

    def start(self) -> None:
        """Open the prepaid account of a new round and begin to ask."""
        self._begin()
        with self._client() as client:
            eventually(lambda: self._granted(client), "the grant of a round")
        self._end.clear()
        self._threads = [
            threading.Thread(target=self._run, name=f"asks {number}") for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End behind the calls in hand. Raises what a client has met and does not know."""
        self._end.set()
        for thread in self._threads:
            thread.join(NET_SECONDS)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for fault in self._faults:
            raise fault

    def _granted(self, client: httpx.Client) -> bool:
        headers = {**bearer(ADMIN_TOKEN), "idempotency-key": self.prepaid}
        body = {"reason": "grant", "person": "chaos", "amount_credits": GRANTED}
        path = f"/v1/accounts/{self.prepaid}/entries"
        try:
            return client.post(path, json=body, headers=headers).is_success
        except httpx.TransportError:
            return False

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._url, trust_env=False, timeout=ASK_SECONDS, headers=bearer(TOKEN)
        )

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                asking = stack.enter_context(self._client())
                posting = stack.enter_context(self._sender.client())
                while not self._end.wait(PAUSE_SECONDS):
                    self._turn(asking, posting)
        except Exception as fault:  # noqa: BLE001 - `stop` raises it
            self._faults.append(fault)

    def _turn(self, asking: httpx.Client, posting: httpx.Client) -> None:
        """Ask about one call and do what follows."""
        one = self._next()
        self._asked.append(one)
        status, said = self._ask(asking, one)
        self._answers.append(status)
        if status == httpx.codes.OK:
            if not self._go_on(asking, posting, one, said):
                one.doubt()
        elif status == httpx.codes.PAYMENT_REQUIRED:
            self._post(posting, replace(one.call, fate=Fate.SKIPPED, cost="0.0", hold="refused"))
        else:
            one.doubt()
            if one.account == self.postpaid:
                self._post(posting, one.call)

    def _next(self) -> Asked:
        chance = self._chance
        account = chance.choice([self.prepaid, self.postpaid])
        [plan] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        short = plan is Plan.FORGOTTEN
        if account == self.postpaid:
            short = short or chance.random() < SHORT_SHARE
        elif plan is Plan.FALLBACK:
            plan = Plan.MADE  # what comes behind the end of a hold may leave less than nothing
        # Many small ones: some can be afforded when most of the credits are gone.
        cost = Decimal(10 ** chance.uniform(-5, -0.3)).quantize(Decimal("1e-12"))
        call = replace(
            self._sender.books.make(Fate.RECEIPT), cost=f"{cost:f}", account=account, hold=None
        )
        return Asked(
            account,
            call,
            charged(call) + chance.randrange(SPARE),
            plan,
            None if short else LONG_SECONDS,
            ENDS[plan] | ({"expired"} if short else set()),
        )

    def _ask(self, client: httpx.Client, one: Asked) -> tuple[int, dict[str, Any]]:
        """Ask for a hold; the status and what came with it, 0 where nothing did."""
        try:
            answer = client.post("/v1/holds", json=one.body())
            return answer.status_code, answer.json()
        except (httpx.TransportError, ValueError):
            return 0, {}

    def _go_on(
        self, asking: httpx.Client, posting: httpx.Client, one: Asked, said: Mapping[str, Any]
    ) -> bool:
        """Do with a call that has its hold what is planned; whether whoever is told has answered.

        The promise is counted when the hold is answered, and let go before anybody is told.
        """
        one.hold, promises = said["hold"], self._promises[one.account]
        call = replace(one.call, hold=one.hold)
        failure = replace(
            call, response_id=f"{call.response_id}-failed", fate=Fate.SKIPPED, cost="0.0"
        )
        if one.plan is Plan.FORGOTTEN:
            promises.add(one.amount, datetime.fromisoformat(said["expires_at"]))
            return True
        promises.add(one.amount)
        if one.plan is Plan.MADE:
            promises.take_back(one.amount - charged(call))
            taken = self._post(posting, call)
            if not taken:
                promises.take_back(charged(call))
            return taken
        promises.take_back(one.amount)
        if one.plan is Plan.NEVER:
            return self._released(asking, one)
        return self._post(posting, failure, *([call] if one.plan is Plan.FALLBACK else []))

    def _post(self, client: httpx.Client, *calls: Call) -> bool:
        return self._sender.post(client, list(calls))

    def _released(self, client: httpx.Client, one: Asked) -> bool:
        """Release a hold; whether that was answered. One that is gone is found by the audit."""
        try:
            status = client.post(f"/v1/holds/{one.hold}/release").status_code
        except httpx.TransportError:
            return False
        return status in {httpx.codes.OK, httpx.codes.NOT_FOUND}

    def is_served(self) -> bool:
        """Whether a hold can be had now and given back."""
        call = replace(self._sender.books.make(Fate.RECEIPT), account=self.postpaid)
        one = Asked(self.postpaid, call, 1, Plan.NEVER, None, ENDS[Plan.NEVER])
        self._asked.append(one)
        with self._client() as client:
            one.doubt()
            return self._settled(client, one)

    def settle(self, *, all_: bool) -> None:
        """Ask again, with the same key, where an answer is missing, and release what is held.

        Args:
            all_: of every hold, as the database has forgotten what was said of some.
        """
        with self._client() as client:
            for one in self._asked:
                if all_:
                    one.doubt()
                if one.unsettled:
                    eventually(lambda: self._settled(client, one), "the end of a hold")  # noqa: B023 - asked at once

    def _settled(self, client: httpx.Client, one: Asked) -> bool:
        if one.hold is None:
            status, said = self._ask(client, one)
            if status != httpx.codes.OK:
                return status == httpx.codes.PAYMENT_REQUIRED
            one.hold = said["hold"]
        return self._released(client, one)

    def wrong(self, connection: psycopg.Connection[Any], *, forgets: bool) -> list[str]:
        """What of this round's holds and credits is not as it must be.

        Args:
            connection: to the database.
            forgets: whether it has lost what it had confirmed: holds and credits among it.
        """
        if forgets:
            return held(connection)
        return [
            *held(connection),
            *misheld_in(connection, self._asked, [self.prepaid, self.postpaid]),
            *misspent(connection, self.prepaid, GRANTED),
            *self._promises[self.prepaid].broken,
        ]
