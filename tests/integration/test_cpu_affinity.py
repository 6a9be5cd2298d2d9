"""Moving the threads of a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one core, and no choice"
)


def test_all_threads_are_moved_to_one_core_and_back() -> None:
    """In a process of its own, which has threads of every age: before, while and after they are tied to a core."""
    script = textwrap.dedent(
        """
        import os, threading, time
        from sockudo_queue.runtime import cpu_affinity

        def masks():
            return {frozenset(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")}

        def start():
            threading.Thread(target=threading.Event().wait, daemon=True).start()

        class Decided:
            def decide(self, own, busy, now):
                return self.core

        everywhere = frozenset(os.sched_getaffinity(0))
        core = max(everywhere)
        start()
        placed = cpu_affinity.CpuAffinity()
        assert placed.is_possible
        placed._policy = policy = Decided()
        for policy.core, wanted in [(core, {frozenset({core})}), (None, {everywhere}), (None, {everywhere})]:
            until = time.process_time() + 0.2
            for _ in range(2):
                while time.process_time() < until:  # busy enough to be looked at
                    pass
                until += 0.2
                placed.update()
            start()
            assert masks() == wanted, (masks(), wanted)
        """
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_the_kernels_table_is_read() -> None:
    from sockudo_queue.runtime.cpu_affinity import _seconds_used

    cores = os.sched_getaffinity(0)
    used = _seconds_used(cores)

    assert set(used) == set(cores)
    assert all(seconds > 0 for seconds in used.values())
