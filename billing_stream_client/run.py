"""A run and its calls: headers before each call, usage units after, posted at the end."""

import asyncio
import logging
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Final, Self

from billing_stream_client.call import Call
from billing_stream_client.gateway import Gateway, Posted
from billing_stream_client.headers import (
    END_USER,
    METADATA,
    TAGS,
    account_header,
    account_of,
    metadata_header,
    tags_header,
    tags_of,
)
from billing_stream_client.names import WrongInputError, attempt_of, end_user_of, name_of, run_of
from billing_stream_client.signing import SigningKey
from billing_stream_client.unit import Unit, now
from billing_stream_client.waiting import WaitingUnits

_PROGRAM: Final = 100
_log: Final = logging.getLogger("billing_stream_client")


class Run:
    """One attempt of a run. As a context manager, `with` or `async with`, it posts at the end.

    It posts after an error of the program as well, which goes on as it is. That it cannot post is
    logged and counted in `posted`, never raised. A process that is killed tells nothing: its calls
    are billed by LiteLLM's callbacks all the same. May be used from many threads.

    Args:
        run_id: names the run; the same in every attempt.
        attempt: counted from 0.
        executor: who makes the calls, a service or an agent runtime; default: the program's name.
        account: who pays. Default: what the request's body or the proxy's key says.
        tags: of all calls.
        metadata: more for `x-litellm-spend-logs-metadata`, of all calls.
        gateway_url: of the billing's gateway; without one nothing is posted.
        token: for the gateway.
        patience_seconds: how long the end of the run may wait for the gateway.
        signing_key: of the operator's, `id=secret`: signs the names and the account of each call.

    Raises:
        WrongInputError: something would not be read as it is meant.
    """

    def __init__(
        self,
        run_id: str,
        *,
        attempt: int = 0,
        executor: str | None = None,
        account: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, object] | None = None,
        gateway_url: str | None = None,
        token: str | None = None,
        patience_seconds: float = 20.0,
        signing_key: str | None = None,
    ) -> None:
        self.run_id = run_of(run_id)
        self.attempt = attempt_of(attempt)
        self.executor = _program() if executor is None else name_of("executor", executor)
        self._account = None if account is None else account_header(account)
        self._key = None if signing_key is None else SigningKey.of(signing_key)
        self._tags = tags_of(tags)
        self._metadata = dict(metadata or {})
        if (gateway_url is None) is not (token is None):
            raise WrongInputError("gateway_url and token go together: give both or none")
        self._waiting = WaitingUnits(
            None
            if gateway_url is None or token is None
            else Gateway(gateway_url, token, patience_seconds)
        )
        self._lock = threading.Lock()
        self._unnamed = 0
        self.call()  # What would be refused at each call is refused now.

    @property
    def end_user(self) -> str:
        """`run/attempt`, for frameworks that let nothing through but `user`."""
        return end_user_of(self.run_id, self.attempt)

    @property
    def units(self) -> Sequence[Unit]:
        """The usage units that are not posted yet, in the order of the answers."""
        return self._waiting.units

    @property
    def posted(self) -> Posted:
        """What became of the units so far; `waiting` and `said` are of the last time."""
        return self._waiting.posted

    @property
    def unnamed(self) -> int:
        """How many answers could not be told of, because their headers name no call."""
        with self._lock:
            return self._unnamed

    def call(
        self,
        *,
        graph: str | None = None,
        agent: str | None = None,
        parent_agent: str | None = None,
        tool_call: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, object] | None = None,
    ) -> Call:
        """Return a call that is about to be made; send its `headers` with the request.

        Args:
            graph: the graph or program that the agent belongs to.
            agent: who asks.
            parent_agent: who gave the agent its work.
            tool_call: the tool call in which it asks.
            tags: more than those of the run.
            metadata: more than that of the run, over which it wins.

        Raises:
            WrongInputError: something would not be read as it is meant.
        """
        blank = Unit(
            unit_id="",
            run_id=self.run_id,
            attempt=self.attempt,
            executor=self.executor,
            graph_id=_name("graph", graph),
            sub_agent_id=_name("agent", agent),
            parent_sub_agent_id=_name("parent_agent", parent_agent),
            tool_call_id=_name("tool_call", tool_call),
            started_at=now(),
            finished_at="",
        )
        headers = {
            METADATA: metadata_header(
                blank, {**self._metadata, **(metadata or {})}, self._key, self._account
            ),
            END_USER: self._account,
            TAGS: tags_header([*self._tags, *tags_of(tags)]),
        }
        sent = {name: text for name, text in headers.items() if text}
        return Call(sent, blank, self._waiting.keep, self._give_up)

    def register(self, account: str) -> bool:
        """Say who pays for calls of this attempt that name the run and no account, and post it.

        For frameworks that let nothing through but `user`, which is `end_user` then. Before the
        first call: a receipt that is written does not change. What is said first counts.

        Returns:
            Whether the gateway has it. If not, it waits with the units, to be posted again.

        Raises:
            WrongInputError: the account would not be read as it is meant.
        """
        moment = now()
        unit = Unit(
            unit_id=str(uuid.uuid4()),
            run_id=self.run_id,
            attempt=self.attempt,
            billing_account_id=account_of(account),
            executor=self.executor,
            started_at=moment,
            finished_at=moment,
        )
        self._waiting.keep(unit)
        posted = self.post()
        return not (posted.refused or posted.waiting)

    def complete(self) -> bool:
        """Say that the run has ended, all its attempts, and post it after the units that wait.

        Other teams are then told what the run has cost. The end of the `with` block does not say
        it, because a run may have several attempts and several programs: say it once, after the
        last call of all of them. A call that is answered afterwards is told of as any other.

        Said again, it sends the same unit, and none if the gateway has it. Never raises. It waits
        for the gateway as `post` does.

        Returns:
            Whether the gateway has it. If not, it waits with the units, to be posted again; one
            that was refused is sent again only if it is said again.
        """
        return self._waiting.complete(
            Unit(
                unit_id=str(uuid.uuid4()),
                run_id=self.run_id,
                attempt=self.attempt,
                run_completed=True,
                executor=self.executor,
                finished_at=now(),
            )
        )

    def post(self) -> Posted:
        """Post the units that wait, and say what became of them. Never raises.

        The end of the run does it; a long run may do it in between. What is told of a call after
        its unit was posted changes nothing any more.
        """
        return self._waiting.post()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.post()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await asyncio.to_thread(self.post)
        except RuntimeError:  # No loop of asyncio, or no thread left: then everybody waits for it.
            self.post()

    def _give_up(self, why: str) -> None:
        with self._lock:
            self._unnamed += 1
        _log.warning("no usage unit of an answer in run %s: %s", self.run_id, why)


def _name(what: str, value: object) -> str | None:
    return None if value is None else name_of(what, value)


def _program() -> str:
    path = PurePath(sys.argv[0] if sys.argv else "")
    shown = "".join(one for one in path.stem if one.isprintable()).strip()
    return shown[:_PROGRAM] or "python"
