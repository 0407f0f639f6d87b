"""The runbook's table of what may become of a deferral is the one that the code goes by."""

from charging.settlement import MOVES, state_of
from tests.repository.test_docs import rows

HEADER = "| from | what happens | resolution | to |"


def test_the_runbook_has_every_step_there_is_and_no_other() -> None:
    assert rows("docs/operations.md", HEADER) == [
        [state, event, f"`{resolution}`", state_of(resolution)]
        for (state, event), resolution in MOVES.items()
    ]
