"""Which tests run one after another in one process, and which may run beside each other.

pytest-xdist gives each test to whichever of its workers has room. What is expensive to start, or
what tests count as a whole, is not shared by workers: its tests make a group and stay together.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

SYSTEM: Final = "tests/system/test_"
GROUPS: Final = {
    "tests/integration/test_database_states": "a database to hurt",
    "tests/integration/test_consumer_stop": "a broker to hurt, consumer",
    "tests/integration/test_broker_restart": "a broker to hurt, consumer",
    "tests/integration/test_cut_logs": "a broker to hurt, consumer",
    "tests/integration/test_migrations": "a database of its own",
    "tests/chaos/": "chaos",
    f"{SYSTEM}bad_input": "deployment",
    f"{SYSTEM}client_examples": "deployment",
    f"{SYSTEM}doctor": "deployment",
    f"{SYSTEM}door": "deployment",
    f"{SYSTEM}fixtures": "deployment",
    f"{SYSTEM}identity": "deployment",
    f"{SYSTEM}java.py": "deployment",
    f"{SYSTEM}javascript": "deployment",
    f"{SYSTEM}litellm": "deployment",
    f"{SYSTEM}nothing_vanishes": "deployment",
    f"{SYSTEM}receipts_topic": "deployment",
    f"{SYSTEM}records": "deployment",
    f"{SYSTEM}run_end": "deployment",
    "tests/integration/test_kafka_security": "a broker with logins",
    f"{SYSTEM}readme.py::test_the_demo": "demo",
    f"{SYSTEM}readme": "pages",
    "tests/integration/test_gateway_spool": "a broker to hurt, gateway",
    "tests/integration/test_guarded_calls": "a proxy with the plugin",
    "tests/integration/test_spend_guard_plugin": "a proxy with the plugin",
    "tests/integration/test_estimates": "a month of calls",
    "tests/repository/test_estimates_page": "a month of calls",
    "tests/repository/test_wheel": "a wheel",
    "tests/repository/test_compiled": "compiled modules",
    "tests/integration/test_gateway_fuzz": "fuzz",
    "tests/integration/test_gateway_clients": "a gateway and its clients",
    "tests/integration/test_gateway_sockets": "a gateway and sockets",
}
"""The group of each test whose id begins so, by the first that fits; those that take longest first.

A test in none of them runs by itself.
"""
ALONE: Final = {
    "deployment": "deployment",
    "doubling": "deployment",
    "hurt_kafka": "a broker to hurt",
}
"""Fixtures that must not exist in two workers without need, and the groups that may use them."""


def group_of(nodeid: str) -> str:
    """The group of a test; empty where it has none."""
    return next((group for start, group in GROUPS.items() if nodeid.startswith(start)), "")


def place_of(nodeid: str) -> tuple[int, str]:
    """Where a test stands in the order of a run: groups, then single tests, then the unit ring."""
    names = list(dict.fromkeys(GROUPS.values()))
    if group := group_of(nodeid):
        return names.index(group), group
    return len(names) + nodeid.startswith("tests/unit/"), ""


def misplaced(nodeid: str, fixtures: Iterable[str]) -> str:
    """What is wrong with the group of a test that uses these fixtures; empty when nothing is."""
    for name in fixtures:
        if name in ALONE and not group_of(nodeid).startswith(ALONE[name]):
            return f"{nodeid} uses `{name}` and is in no group {ALONE[name]!r}: see {__file__}"
    return ""


class SideBySide(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """A group is one piece of work, and so is each test outside of them."""

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Take the ids of the tests that a worker found.

        Raises `UsageError` where two tests share one: pytest-xdist would run the first only, and
        the run would be as green as if all had run.
        """
        more = [nodeid for nodeid, times in Counter(collection).items() if times > 1]
        if more:
            raise pytest.UsageError(
                f"of these, only one test of each would be run: {', '.join(more)}"
            )
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid
