"""From a body to its records: callbacks, and dead letters for what cannot be billed."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NoReturn

from producer_gateway.content import cut_content, keep_billing_fields
from producer_gateway.fast_path import cut_fast
from producer_gateway.splitter import Cut, Damaged, split
from producer_gateway.store import Record
from runtime import VERSION
from schemas import headers as names
from schemas.callback import ContractError, Identity
from schemas.headers import ContentDropped, Headers, Reason
from schemas.reader import identify
from schemas.topics import Topic, Topics

HEADROOM_BYTES: Final = 64 * 1024
"""Of a topic's `max.message.bytes`, left for key, headers and batch overhead."""

_VERSION: Final = VERSION.encode()
_EMPTY_LIST: Final = re.compile(rb"(\xef\xbb\xbf)?\s*+(\[\s*+\]\s*+)?")
"""What says that there is nothing. Brackets and commas that say it otherwise are torn lists."""


@dataclass(slots=True)
class Envelope:
    """What a request says about all of its callbacks. Text is fit for a header."""

    source: str
    content_type: str
    traceparent: str | None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def headers(self) -> Headers:
        """Return the headers that every record of the request carries."""
        received = self.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        headers = [
            (names.SOURCE, self.source.encode()),
            (names.RECEIVED_AT, received.encode()),
            (names.CONTENT_TYPE, self.content_type.encode("utf-8", "replace")),
            (names.GATEWAY_VERSION, _VERSION),
        ]
        if self.traceparent:
            headers.append((names.TRACEPARENT, self.traceparent.encode()))
        return headers


@dataclass(slots=True)
class Prepared:
    """The records of one body, and what they hold in numbers of callbacks."""

    records: list[Record] = field(default_factory=list)
    accepted: int = 0
    nulls: int = 0
    lenient: int = 0
    parked: dict[str, int] = field(default_factory=dict)
    content_dropped: dict[str, int] = field(default_factory=dict)


class Preparer:
    """Turns bodies into records. Pure: no clock, no network; safe to call from any thread.

    With `drop_content`, callbacks lose prompts, answers, requester headers, addresses and
    tracebacks before they become records, dead letters included; a damaged region cannot be read
    and is parked whole, so readers of the dead-letter topic must be allowed to see content.
    """

    def __init__(self, topics: Topics, *, drop_content: bool) -> None:
        self._callbacks = topics.callbacks.name
        self._dead_letters = topics.dead_letters.name
        self._limit = _value_limit(topics.callbacks)
        self._part_bytes = _value_limit(topics.dead_letters)
        self._drop_content = drop_content

    def prepare(self, body: bytes, envelope: Envelope) -> Prepared:
        """Return the records for `body`. Never raises: what cannot be read becomes dead letters."""
        return self.fast(body, envelope) or self.thoroughly(body, envelope)

    def fast(self, body: bytes, envelope: Envelope) -> Prepared | None:
        """Return the records for a body as LiteLLM writes nearly all of them; None for others."""
        callbacks = cut_fast(body)
        if callbacks is None:
            return None
        prepared, base = Prepared(), envelope.headers()
        records = prepared.records
        whole = 0 if self._drop_content else self._limit
        for callback, identity in callbacks:
            if len(callback) <= whole:
                headers = [*base, (names.CALL_KEY, identity.call_key.encode())]
                key = identity.run_id.encode()
                records.append(Record(self._callbacks, key, callback, headers))
                prepared.accepted += 1
            else:
                self._callback(prepared, base.copy(), callback, identity)
        return prepared

    def thoroughly(self, body: bytes, envelope: Envelope) -> Prepared:
        """Return the records for any body, at several times the cost of the fast path."""
        found, nulls = split(body)
        prepared, base = Prepared(nulls=nulls), envelope.headers()
        for one in found:
            if isinstance(one, Damaged):
                self._park(prepared, base, one.value, Reason.UNREADABLE)
            else:
                self._cut(prepared, base, one)
        if not found and not nulls and not _EMPTY_LIST.fullmatch(body):
            self._park(prepared, base, body, Reason.UNREADABLE)
        return prepared

    def _cut(self, prepared: Prepared, base: Headers, cut: Cut) -> None:
        callback, lenient = cut
        headers = [*base, (names.LENIENT_JSON, b"true")] if lenient else base.copy()
        try:
            identity = identify(callback) if callback[:1] == b"{" else _no_object(lenient=lenient)
        except ContractError as error:
            headers.append((names.REASON_DETAIL, str(error).encode("utf-8", "replace")[:500]))
            value, dropped = self._storable(callback)
            self._park(prepared, _marked(headers, dropped), value, error.reason)
            return
        prepared.lenient += self._callback(prepared, headers, callback, identity) and lenient

    def _callback(
        self, prepared: Prepared, headers: Headers, callback: bytes, identity: Identity
    ) -> bool:
        """Add the record of a callback; false where it had to be parked. `headers` are its own."""
        value, dropped = self._storable(callback)
        key = identity.run_id.encode()
        headers.append((names.CALL_KEY, identity.call_key.encode()))
        if len(value) > self._limit:
            if (smaller := self._smaller(callback)) is None:
                self._park(prepared, _marked(headers, dropped), value, Reason.TOO_LARGE, key)
                return False
            value, dropped = smaller
            headers += _original(callback)
        if dropped:
            headers.append((names.CONTENT_DROPPED, dropped.encode()))
            known = prepared.content_dropped.get(dropped, 0)
            prepared.content_dropped[dropped] = known + 1
        prepared.records.append(Record(self._callbacks, key, value, headers))
        prepared.accepted += 1
        return True

    def _storable(self, callback: bytes) -> tuple[bytes, ContentDropped | None]:
        """Return what of a callback may be stored, and why that is not all of it."""
        value = cut_content(callback) if self._drop_content else callback
        return value, ContentDropped.POLICY if len(value) < len(callback) else None

    def _smaller(self, callback: bytes) -> tuple[bytes, ContentDropped] | None:
        """Return an oversize callback cut to what the topic takes, losing as little as will do.

        Billing needs none of what is cut, so the call is charged now; the header says that the
        value is not what LiteLLM sent, and the digest lets the two be told apart later.
        """
        value = cut_content(callback)
        if len(value) <= self._limit:
            return value, ContentDropped.OVERSIZE
        value = keep_billing_fields(callback)
        return (value, ContentDropped.MINIMAL) if len(value) <= self._limit else None

    def _park(
        self, prepared: Prepared, headers: Headers, value: bytes, reason: str, key: bytes = b""
    ) -> None:
        """Add dead letters that hold `value`: one, or numbered parts where it is too long."""
        prepared.parked[reason] = prepared.parked.get(reason, 0) + 1
        digest = hashlib.sha256(value).hexdigest().encode()
        headers = [*headers, (names.REASON, reason.encode())]
        size = self._part_bytes
        parts = [value[start : start + size] for start in range(0, len(value), size)]
        if len(parts) > 1:
            headers += [(names.PART_COUNT, b"%d" % len(parts)), (names.BODY_SHA256, digest)]
        for index, part in enumerate(parts):
            numbered = [(names.PART_INDEX, b"%d" % index)] if len(parts) > 1 else []
            prepared.records.append(
                Record(self._dead_letters, key or digest, part, headers + numbered)
            )


def _no_object(*, lenient: bool) -> NoReturn:
    # Told by the first byte: reading a hundred megabytes of text to refuse it would take seconds.
    reason = Reason.UNREADABLE if lenient else Reason.NOT_AN_OBJECT
    raise ContractError(reason, "a callback must be an object")


def _value_limit(topic: Topic) -> int:
    return topic.max_message_bytes - HEADROOM_BYTES


def _marked(headers: Headers, dropped: ContentDropped | None) -> Headers:
    return [*headers, (names.CONTENT_DROPPED, dropped.encode())] if dropped else headers


def _original(callback: bytes) -> Headers:
    return [
        (names.ORIGINAL_BYTES, b"%d" % len(callback)),
        (names.ORIGINAL_SHA256, hashlib.sha256(callback).hexdigest().encode()),
    ]
