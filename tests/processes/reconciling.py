"""Reconcilers as real processes, between a spend log, a gateway and the ledger."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from demo.spend_log_table import SpendLogTable
from tests.doubles.spend_log_server import KEY, SpendLogServer, serving
from tests.processes import forked, room
from tests.processes.consuming import Consuming, Member
from tests.processes.gateway import TOKEN, Gateway
from tests.processes.process import free_port
from tests.waiting import eventually


@dataclass
class Reconciling:
    """A spend log with its calls, a gateway, and the topics and tables of `consuming`.

    `settings` are the reconcilers', beside those that find everything quickly.
    """

    consuming: Consuming
    settings: Mapping[str, str] = field(default_factory=dict)
    version: str = "1.110.2"

    def __post_init__(self) -> None:
        """Serve an empty spend log; the gateway is started by whoever needs it."""
        self._ends = ExitStack()
        self.table = SpendLogTable(self.version)
        self.log: SpendLogServer = self._ends.enter_context(serving(self.table))
        self.gateway = Gateway(
            self.consuming.bootstrap, self.consuming.prefix, self.consuming.directory
        )
        self._ends.callback(self.gateway.stop)

    def close(self) -> None:
        """End what is left."""
        self._ends.close()

    def start_gateway(self) -> None:
        """Start the gateway and wait until it is ready."""
        self.gateway.start()
        self.gateway.ready()

    def called(
        self, calls: Iterable[Mapping[str, Any]], lost: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Have calls made whose callbacks arrive, and others whose callbacks are `lost`."""
        arrived, missing = list(calls), list(lost)
        self.table.accept([*arrived, *missing])
        self.consuming.send(*(json.dumps(call).encode() for call in arrived))

    def environment(self, **settings: str) -> dict[str, str]:
        """What a reconciler is started with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BILLING_")}
        return {
            **kept,
            "LITELLM_URL": self.log.url,
            "LITELLM_API_KEY": KEY,
            "GATEWAY_URL": self.gateway.url,
            "BILLING_INGEST_TOKEN": TOKEN,
            "DATABASE_URL": self.consuming.database_url,
            "RECONCILER_METRICS_PORT": "0",
            "RECONCILER_GRACE_S": "0",
            "RECONCILER_OVERLAP_S": "7200",
            "RECONCILER_INTERVAL_S": "1",
            "RECONCILER_RETRY_MAX_MS": "500",
            "RECONCILER_DAILY_AUDIT": "false",
            **self.settings,
            **settings,
        }

    def start(self, **settings: str) -> Member:
        """Start `python -m reconciler run`."""
        port = free_port()
        number = len(self.consuming.members)
        path = self.consuming.directory / f"reconciler-{number}.log"
        with path.open("wb") as log:
            process = forked.start(
                ["reconciler", "run"],
                environment=self.environment(RECONCILER_METRICS_PORT=str(port), **settings),
                stdout=log,
            )
        member = Member(process, path, f"http://127.0.0.1:{port}")
        # It is ended with the others.
        self.consuming.members.append(member)
        eventually(lambda: member.said("reconciler started"), "the reconciler to start", 60)
        return member

    def command(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run a command of the reconciler; its exit code, and what it printed and said."""
        done = room.run(self.environment(**settings), *arguments, room="reconciler")
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def told(self, *arguments: str, code: int = 0, **settings: str) -> Any:  # noqa: ANN401 - JSON
        """Run a command with `--json`; what it told."""
        ended, out, err = self.command(*arguments, "--json", **settings)
        assert ended == code, out + err
        return json.loads(out)
