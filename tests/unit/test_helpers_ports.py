"""Ports for test servers: no two processes share one, and one process hands none out twice in a row."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.helpers.ports import free_port, own_ports


def test_processes_of_four_runs_share_no_port() -> None:
    ports = [set(own_ports(f"gw{number}", 3, run)) for number in range(3) for run in range(4)]
    assert sum(map(len, ports)) == len(set.union(*ports)) > 9_900


def test_another_run_gets_other_ports_and_a_process_of_this_one_the_same() -> None:
    code = "from tests.helpers import ports; print(ports._number_of_this_run())"
    free_port()  # so that this run has its number
    own = os.environ["SOCKUDO_QUEUE_TEST_RUN"]
    others = {name: value for name, value in os.environ.items() if name != "SOCKUDO_QUEUE_TEST_RUN"}
    for environment, is_same in ((dict(os.environ), True), (others, False)):
        ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert (ran.stdout.strip() == own) == is_same


def test_port_is_not_handed_out_again_while_others_are_left() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
