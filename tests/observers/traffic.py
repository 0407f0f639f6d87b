"""What one test put on the topics of a deployment, and what came of it."""

import hashlib

from tests.inputs.captures import Call
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import TopicRecord, Topics

CALLBACKS = "billing.callbacks.v1"
DEAD_LETTERS = "billing.callbacks.v1.dlq"


class Traffic:
    """What one test put on the topics, and what came of it."""

    def __init__(self, deployment: Deployment, topics: Topics, ledger: Ledger) -> None:
        self.deployment = deployment
        self.ledger = ledger
        self._topics = topics
        self._before = {name: topics.ends(name) for name in (CALLBACKS, DEAD_LETTERS)}

    def callbacks(self) -> list[TopicRecord]:
        """Records that came onto the callbacks topic since the test began."""
        return self._topics.since(CALLBACKS, self._before[CALLBACKS])

    def dead_letters(self) -> list[TopicRecord]:
        """Dead letters since the test began, once everything is consumed."""
        self._topics.wait_until_consumed()
        return self._topics.since(DEAD_LETTERS, self._before[DEAD_LETTERS])

    def nothing_happened(self) -> bool:
        """Whether no topic got a record."""
        return self.callbacks() == [] and self.dead_letters() == []

    def assert_billed(self, *calls: Call) -> None:
        """Each of these calls has its receipt of 0.000036 USD."""
        self._topics.wait_until_consumed()
        for call in calls:
            row = self.ledger.receipt(response_id=call.response_id)
            assert row["cost_text"] == "0.000036"

    def assert_parked(self, *values: bytes, reason: str | None = None) -> None:
        """Exactly these values are dead letters, byte for byte, each with a reason."""
        letters = self.dead_letters()
        assert sorted(letter.value for letter in letters) == sorted(values)
        for letter in letters:
            assert letter.headers["reason"]
            assert letter.headers["source"] == b"litellm"
            if reason is not None:
                assert letter.headers["reason"] == reason.encode()


def assert_restored(body: bytes, letters: list[TopicRecord]) -> None:
    """The dead letters of one body, put together in their order, are that body."""
    by_index = sorted(letters, key=lambda letter: int(letter.headers.get("part-index", b"0")))
    assert hashlib.sha256(b"".join(letter.value for letter in by_index)).digest() == (
        hashlib.sha256(body).digest()
    )
    if len(letters) > 1:
        counts = {letter.headers["part-count"] for letter in letters}
        assert counts == {str(len(letters)).encode()}
