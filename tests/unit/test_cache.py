"""What the tests fetch once is whole or not there, however many ask for it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.downloads.cache import cached, kept


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "billing-stream"


def test_it_is_filled_once_whoever_asks() -> None:
    filled: list[Path] = []

    def fill(directory: Path) -> None:
        filled.append(directory)
        assert not cached("jars").exists()
        (directory / "one.jar").touch()

    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: kept("jars", fill), range(6)))
    assert found == {cached("jars")}
    assert len(filled) == 1
    assert (cached("jars") / "one.jar").exists()


def test_what_fails_leaves_nothing_and_the_next_begins_anew(cache: Path) -> None:
    def fails(directory: Path) -> None:
        (directory / "half.jar").touch()
        raise RuntimeError("no network")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no network"):
            kept("jars", fails)
        assert [path.name for path in cache.iterdir()] == [".jars.lock"]
    assert kept("jars", lambda _: None).is_dir()
