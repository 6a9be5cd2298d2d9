"""Ports for test servers: processes of one run never share one, and one process hands none out twice in a row."""

from __future__ import annotations

from tests.helpers.ports import free_port, own_ports


def test_processes_of_one_run_share_no_port() -> None:
    ports = [set(own_ports(f"gw{number}", 3)) for number in range(3)]
    assert sum(map(len, ports)) == len(set.union(*ports)) > 9_900


def test_port_is_not_handed_out_again_while_others_are_left() -> None:
    ports = [free_port() for _ in range(1_000)]
    assert len(set(ports)) == len(ports)
