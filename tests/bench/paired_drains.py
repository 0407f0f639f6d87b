"""Drains in pairs: a consumer as it is, and one that leaves something out."""

import sys
from collections.abc import Callable

from tests.bench.draining import Drained, check_ledger, drain, fill
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.payloads import Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size


def paired(
    services: Services,
    size: Size,
    payloads: Payloads,
    left_out: str | tuple[Callable[[str], None], Callable[[str], None]],
    check: Callable[[str], None],
) -> tuple[list[Drained], list[Drained]]:
    """The drains of both, from one topic, by turns.

    Args:
        services: the broker and the database server.
        size: how many callbacks, and how often.
        payloads: what is on the topic.
        left_out: a setting as in a shell, by which the second one leaves something out; or what
            is done to the ledger before each drain, of the first and of the second.
        check: is given the ledger behind each drain.
    """
    setting = left_out if isinstance(left_out, str) else ""
    launchers = (), ("env", setting, sys.executable) if setting else ()
    prepared = (_as_it_is, _as_it_is) if isinstance(left_out, str) else left_out
    drains: tuple[list[Drained], list[Drained]] = [], []
    with services.topics() as prefix:
        fill(services, prefix, payloads, size.callbacks)
        for number in range(size.rounds):
            # By turns who goes first: what a broker has just read it reads faster again.
            for which in (0, 1) if number % 2 else (1, 0):
                launcher, drained = launchers[which], drains[which]
                with services.database() as url:
                    prepared[which](url)
                    drained.append(drain(services, prefix, url, size.callbacks, launcher=launcher))
                    check_ledger(url, size.callbacks)
                    check(url)
    return drains


def _as_it_is(_: str) -> None:
    pass


def compared(
    what: str,
    names: tuple[str, str],
    drains: tuple[list[Drained], list[Drained]],
    target: Target,
) -> list[Comparison]:
    """The rates of both, and what a callback takes of each process.

    Args:
        what: is measured.
        names: of the two.
        drains: from `paired`.
        target: of the first against the second.
    """
    ours, limit = (
        Figures(name, tuple(one.rate for one in drained))
        for name, drained in zip(names, drains, strict=True)
    )
    rows = [Comparison(what, "callbacks/s", ours, limit, target)]
    parts: dict[str, Callable[[Drained], float]] = {
        "the consumer's process": lambda one: one.cpu.process,
        "PostgreSQL": lambda one: one.cpu.server,
        "broker": lambda one: one.cpu.broker,
    }
    for part, spent in parts.items():
        ours, limit = (
            Figures(name, tuple(map(spent, drained)))
            for name, drained in zip(names, drains, strict=True)
        )
        rows.append(Comparison(f"{what}: {part}", "CPU µs/callback", ours, limit))
    return rows
