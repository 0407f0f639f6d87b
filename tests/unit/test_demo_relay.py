"""What stands before the embedded broker: fetches are held, all else passes, addresses are told."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo import relay
from tests.processes.process import exit_code, free_port
from tests.waiting import NET_SECONDS, eventually

FETCH, METADATA, HEARTBEAT = 1, 3, 12
LONG_SECONDS = 3_600.0
BECOMES = """
import socket, sys
socket.create_server(("127.0.0.1", int(sys.argv[1]))).accept()[0].recv(1)
"""


class FakeBroker:
    """Answers each request at once with its number and where the broker listens."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.keys: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as frames:
            while size := frames.read(4):
                request = frames.read(struct.unpack(">i", size)[0])
                self.keys.append(struct.unpack_from(">h", request)[0])
                answer = request[4:8] + b"\x09127.0.0.1" + struct.pack(">i", self.port)
                client.sendall(struct.pack(">i", len(answer)) + answer)


class Client:
    """Sends requests of which only the key and the number matter."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=NET_SECONDS)
        self._answers = self._socket.makefile("rb")

    def send(self, key: int, number: int = 0) -> None:
        request = struct.pack(">hhi", key, 0, number) + b"more"
        self._socket.sendall(struct.pack(">i", len(request)) + request)

    def answer(self) -> tuple[int, int]:
        """The number of the next answer, and the port in it; zeros at the end."""
        size = self._answers.read(4)
        if not size:
            return 0, 0
        content = self._answers.read(struct.unpack(">i", size)[0])
        return struct.unpack_from(">i", content)[0], struct.unpack(">i", content[-4:])[0]

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    broker = FakeBroker()
    with closing(broker.listener):
        yield broker


def relayed(broker_port: int, pause_seconds: float) -> socket.socket:
    """The listener of a relay before that port."""
    listener = socket.create_server(("127.0.0.1", 0))
    serving = (listener, broker_port, pause_seconds)
    threading.Thread(target=relay.serve, args=serving, daemon=True).start()
    return listener


def test_a_second_fetch_waits_and_nobody_else_does(broker: FakeBroker) -> None:
    listener = relayed(broker.port, LONG_SECONDS)
    port = listener.getsockname()[1]
    with closing(listener), closing(Client(port)) as waits, closing(Client(port)) as other:
        waits.send(FETCH, 7)
        assert waits.answer()[0] == 7, "the first passes at once"
        waits.send(FETCH, 8)
        for number in range(20):
            other.send(HEARTBEAT, number)
            assert other.answer()[0] == number
        other.send(FETCH, 9)
        assert other.answer()[0] == 9, "each connection has its own pause"
    assert broker.keys.count(FETCH) == 2


def test_every_fetch_passes_in_the_end(broker: FakeBroker) -> None:
    listener = relayed(broker.port, 0.001)
    with closing(listener), closing(Client(listener.getsockname()[1])) as client:
        for number in range(10):
            client.send(FETCH, number)
        assert [client.answer()[0] for _ in range(10)] == list(range(10))


def test_clients_are_told_the_address_of_the_relay_and_records_stay_as_they_are(
    broker: FakeBroker,
) -> None:
    listener = relayed(broker.port, 0)
    port = listener.getsockname()[1]
    with closing(listener), closing(Client(port)) as client:
        client.send(METADATA, 1)
        client.send(FETCH, 2)
        assert client.answer() == (1, port)
        assert client.answer() == (2, broker.port)


def test_without_a_broker_a_connection_ends() -> None:
    listener = relayed(free_port(), 0)
    with closing(listener), closing(Client(listener.getsockname()[1])) as client:
        assert client.answer() == (0, 0)


def test_a_connection_that_the_broker_ends_is_ended(broker: FakeBroker) -> None:
    listener = relayed(broker.port, 0)
    with closing(listener), closing(Client(listener.getsockname()[1])) as client:
        client.send(HEARTBEAT, -1)
        client.answer()
        client._socket.sendall(struct.pack(">i", -1))  # noqa: SLF001 - no Kafka at all
        assert client.answer() == (0, 0)


def test_the_process_is_the_broker_and_the_relay_ends_with_it() -> None:
    port, inner = free_port(), free_port()
    command = [sys.executable, "-I", "-S", str(Path(relay.__file__)), str(port), str(inner)]
    broker = subprocess.Popen([*command, sys.executable, "-c", BECOMES, str(inner)])
    try:
        eventually(lambda: reached(port), "the relay to take connections")
    finally:
        os.kill(broker.pid, signal.SIGKILL)
    assert exit_code(broker, "the broker") == -signal.SIGKILL
    eventually(lambda: not reached(port), "the relay to follow its broker")


def reached(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
