"""Pictures of dashboards: every panel is drawn, with or without anything to show."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.observers.panels import boards
from tests.pictures.drawing import Shown, draw, legend
from tests.processes.prometheus import Course

LINE = Course({"answer": "held"}, [1.0, 3.0, 5.0], [0.5, float("nan"), 2.0])
TABLE: tuple[list[str], list[list[object]]] = (
    ["model", "charged USD"],
    [["gpt-4o-mini", Decimal("0.00100")], [None, Decimal(2)]],
)


@pytest.mark.parametrize("full", [True, False])
def test_every_panel_of_a_dashboard_is_drawn(tmp_path: Path, *, full: bool) -> None:
    board = boards()["money"]
    shown: dict[int, Shown] = {
        panel["id"]: ([("held", LINE)] if full else [], TABLE if panel["type"] == "table" else None)
        for panel in board["panels"]
        if panel["type"] != "row"
    }
    draw(board, shown, tmp_path / "board.png")
    assert (tmp_path / "board.png").read_bytes()[1:4] == b"PNG"


def test_a_line_is_called_as_in_Grafana() -> None:
    assert legend("{{status}} {{ reason }}", {"status": "401", "reason": "wrong"}) == "401 wrong"
    assert legend("limit of {{source}}", {}) == "limit of"
