"""Pictures of the dashboards, from what really running rooms measure: `make pictures`."""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import track

from ledger import migration
from tests.brokers.broker import choose_broker, make_broker, prepare_broker
from tests.databases.database import choose_database, fresh_database, make_database
from tests.observers.panels import asked, boards, rows
from tests.pictures.drawing import Shown, draw, legend
from tests.processes.consuming import Consuming
from tests.processes.prometheus import Prometheus
from tests.processes.reconciling import Reconciling
from tests.processes.scene import scraped_scene

ROOT: Final = Path(__file__).parents[2]
_STEP_SECONDS: Final = 2.0
_MOST_ROUNDS: Final = 900
console: Final = Console()


def pictures(
    minutes: Annotated[float, typer.Option(min=0.1, max=30, help="How long the rooms work.")] = 4,
    to: Annotated[Path, typer.Option(help="Directory of the pictures.")] = ROOT / "docs/pictures",
) -> None:
    """Have all rooms work for some minutes, and draw each dashboard as a PNG."""
    to.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="billing-pictures-") as scratch,
        servers(Path(scratch)) as (bootstrap, url),
        closing(Consuming(bootstrap, url, "pictures.", Path(scratch))) as consuming,
        closing(Reconciling(consuming)) as installation,
    ):
        installation.start_gateway()
        prometheus = Prometheus(Path(scratch))
        with scraped_scene(prometheus, installation, Path(scratch)) as scene:
            began, pace = time.time(), random.Random(17)  # noqa: S311 - a pace, no secret
            for number in track(range(_MOST_ROUNDS), "the rooms work", console=console):
                if time.time() - began > 60 * minutes:
                    break
                scene.happens(number)
                time.sleep(pace.uniform(0.3, 3))
            consuming.all_committed()
            time.sleep(2 * _STEP_SECONDS)
            for name, board in boards().items():
                shown = {
                    panel["id"]: _shown(panel, prometheus, url, began)
                    for panel in board["panels"]
                    if panel["type"] != "row"
                }
                draw(board, shown, to / f"{name}.png")
                console.print(f"wrote {to / f'{name}.png'}")


@contextmanager
def servers(directory: Path) -> Iterator[tuple[str, str]]:
    """A broker and a database with an empty ledger; yields where they are."""
    with ExitStack() as stack:
        broker = make_broker(prepare_broker(choose_broker(), console.print, ci=False), directory)
        broker.start()
        stack.callback(broker.remove)
        database = make_database(choose_database())
        stack.callback(database.remove)
        database.start()
        stack.callback(database.stop)
        url = stack.enter_context(fresh_database(database.url))
        migration.migrate(url)
        yield broker.bootstrap, url


def _shown(panel: dict[str, Any], prometheus: Prometheus, url: str, began: float) -> Shown:
    """Ask what a panel shows."""
    lines, table = [], None
    for target in panel["targets"]:
        if "rawSql" in target:
            table = rows(url, target["rawSql"])
            continue
        found = prometheus.course(asked(target["expr"]), began, time.time(), _STEP_SECONDS)
        pattern = target.get("legendFormat", "")
        lines += [(legend(pattern, course.labels), course) for course in found]
    return lines, table


if __name__ == "__main__":
    typer.run(pictures)
