"""Links between processes: open, cut, silent, slow."""

import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.links import Door, LinkError, Links
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

MOMENT_SECONDS = 0.3
"""For what must not happen."""
ELSEWHERE = "127.0.7.1"


class Echo:
    """A server that sends back what it is sent, and counts who came."""

    def __init__(self) -> None:
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except ConnectionError:
                return


@pytest.fixture(scope="module")
def doors() -> list[Door]:
    """One link with a door on another loopback address, one with two doors."""
    echo = Echo()
    return [
        Door("near", "127.0.0.1", free_port(), echo.port),
        Door("far", ELSEWHERE, free_port(), echo.port),
        Door("far", "127.0.0.1", free_port(), echo.port),
    ]


@pytest.fixture(scope="module")
def running(doors: list[Door], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Links]:
    """The links of this file."""
    log: Path = tmp_path_factory.mktemp("links") / "links.log"
    links = Links(doors, log)
    links.start()
    yield links
    links.stop()


@pytest.fixture
def links(running: Links) -> Links:
    """Every link open."""
    running.open()
    return running


def connected(door: Door) -> socket.socket:
    return socket.create_connection((door.host, door.port), NET_SECONDS)


def exchanged(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return received(connection, len(data))


def received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        data = connection.recv(size - len(found))
        assert data, "the connection ended"
        found += data
    return found


def test_an_open_link_carries_everything_in_its_order(links: Links, doors: list[Door]) -> None:
    assert links.names == ["near", "far"]
    whole = bytes(range(256)) * 20_000
    for door in doors:
        with connected(door) as connection:
            threading.Thread(target=connection.sendall, args=(whole,), daemon=True).start()
            assert received(connection, len(whole)) == whole


def test_the_end_of_one_direction_leaves_the_other(links: Links, doors: list[Door]) -> None:  # noqa: ARG001 - open
    with connected(doors[0]) as connection:
        connection.sendall(b"the last words")
        connection.shutdown(socket.SHUT_WR)
        assert received(connection, 14) == b"the last words"
        assert connection.recv(1) == b""


def descriptors(links: Links) -> int:
    return len(list(Path(f"/proc/{links.pid}/fd").iterdir()))


def test_of_connections_that_ended_nothing_is_kept(links: Links, doors: list[Door]) -> None:
    before = descriptors(links)
    for _ in range(20):
        with connected(doors[0]) as connection:
            assert exchanged(connection, b"a word") == b"a word"
    eventually(lambda: descriptors(links) <= before, "the connections are closed", 10)


def test_who_comes_while_no_descriptor_is_left_is_served_later(tmp_path: Path) -> None:
    door = Door("full", "127.0.0.1", free_port(), Echo().port)
    log = tmp_path / "links.log"
    links = Links([door], log)
    links.start()
    try:
        least = descriptors(links)
        resource.prlimit(links.pid, resource.RLIMIT_NOFILE, (least, least + 100))
        with connected(door) as connection:
            eventually(lambda: "Too many open files" in log.read_text(), "no descriptor", 10)
            resource.prlimit(links.pid, resource.RLIMIT_NOFILE, (least + 100, least + 100))
            assert exchanged(connection, b"late") == b"late"
        assert len(log.read_text().splitlines()) < 20
    finally:
        links.stop()


def test_a_cut_link_resets_who_is_connected_and_refuses_who_comes(
    links: Links, doors: list[Door]
) -> None:
    near, far, other = (connected(door) for door in doors)
    with near, far, other:
        for connection in (near, far, other):
            assert exchanged(connection, b"before") == b"before"
        links.cut(["far"])
        for connection in (far, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        for door in doors[1:]:
            with pytest.raises(ConnectionRefusedError):
                connected(door)
        assert exchanged(near, b"the other link goes on") == b"the other link goes on"
        links.open(["far"])
        with connected(doors[1]) as again:
            assert exchanged(again, b"after") == b"after"


def test_a_silent_link_keeps_what_is_sent_until_it_is_open(links: Links, doors: list[Door]) -> None:
    with connected(doors[0]) as connection:
        assert exchanged(connection, b"before") == b"before"
        links.silence(["near"])
        connection.sendall(b"meanwhile")
        connection.settimeout(MOMENT_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        links.open(["near"])
        connection.settimeout(NET_SECONDS)
        assert received(connection, 9) == b"meanwhile"


def test_a_silent_link_does_not_answer_who_connects(links: Links, doors: list[Door]) -> None:
    links.silence(["far"])
    for door in doors[1:]:
        with pytest.raises(TimeoutError):
            socket.create_connection((door.host, door.port), MOMENT_SECONDS)
    links.open(["far"])
    with connected(doors[1]) as connection:
        assert exchanged(connection, b"after") == b"after"


def test_a_silent_link_can_be_cut_and_a_cut_one_silenced(links: Links, doors: list[Door]) -> None:
    with connected(doors[0]) as connection:
        links.silence(["near"])
        links.cut(["near"])
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    links.silence(["near"])
    with pytest.raises(TimeoutError):
        socket.create_connection((doors[0].host, doors[0].port), MOMENT_SECONDS)


def test_a_slow_link_delays_and_keeps_the_order(links: Links, doors: list[Door]) -> None:
    with connected(doors[0]) as connection:
        assert exchanged(connection, b"before") == b"before"
        links.slow(["near"], 0.1)
        began = time.monotonic()
        assert exchanged(connection, b"there and back") == b"there and back"
        assert time.monotonic() - began >= 0.2
        for word in (b"one ", b"two ", b"three"):
            connection.sendall(word)
        links.open(["near"])
        connection.sendall(b" four")
        assert received(connection, 18) == b"one two three four"


def test_a_link_without_a_server_behind_it_resets(tmp_path: Path) -> None:
    door = Door("nowhere", "127.0.0.1", free_port(), free_port())
    links = Links([door], tmp_path / "links.log")
    links.start()
    try:
        # It may be reset before the client has noticed that it is connected.
        with pytest.raises(ConnectionResetError), connected(door) as connection:
            connection.recv(1)
        with pytest.raises(LinkError, match="KeyError"):
            links.cut(["unknown"])
    finally:
        links.stop()
