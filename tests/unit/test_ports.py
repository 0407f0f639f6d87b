"""Ports that tests give to servers."""

import socket

import pytest

from tests.processes.process import Ports, ServerError, free_port


def free_range(count: int) -> list[int]:
    """Ports that are free."""
    return [free_port() for _ in range(count)]


def test_each_port_is_given_once_before_one_comes_again() -> None:
    own = free_range(20)
    ports = Ports(own)
    first = [ports.free() for _ in own]
    assert sorted(first) == sorted(own)
    assert [ports.free() for _ in own] == first


def test_a_port_that_is_taken_is_left_out_and_without_any_that_is_said() -> None:
    own = free_range(2)
    ports = Ports(own)
    with socket.create_server(("127.0.0.1", own[0])):
        assert {ports.free() for _ in range(4)} == {own[1]}
        with (
            socket.create_server(("127.0.0.1", own[1])),
            pytest.raises(ServerError, match="each of the 2 ports"),
        ):
            ports.free()
