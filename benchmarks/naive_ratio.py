"""Jobs per second and CPU per job: this daemon against a naive loop, in turn, in one run.

The naive loop is what one would write in an afternoon: five threads, each `BLPOP`, `json.loads`, an HMAC and
`requests.Session.post`. Both drain the same jobs from the same Redis into the same nginx, which answers at once.
The daemon runs with logs and metrics on and loses nothing; the loop does neither.

    python -m benchmarks.naive_ratio [--jobs 20000] [--rounds 3]

Needs nginx on PATH. Machines are noisy: read the ratio of one run, not the figures of two.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import requests

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer

LIST = "sockudo_queue::queue:webhooks"
THREADS = 5

NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {directory}; proxy_temp_path {directory};
  fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 ""; }} }} }}
"""


def start_nginx(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a receiver that answers at once, on a free port."""
    nginx = shutil.which("nginx") or sys.exit("nginx is not on PATH")
    port = free_port()
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port))
    process = subprocess.Popen([nginx, "-c", str(directory / "nginx.conf"), "-p", str(directory)])
    for _ in range(200):
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=1)
            break
        except requests.ConnectionError:
            time.sleep(0.01)
    return process, port


def naive(redis_port: int, port: int, count: int) -> None:
    """The naive loop; runs in a process of its own, so that its CPU can be told from ours."""
    import redis

    left = threading.Semaphore(count)

    def work() -> None:
        client = redis.Redis(port=redis_port)
        session = requests.Session()
        while left.acquire(blocking=False):
            popped = client.blpop([LIST], timeout=2)
            if popped is None:
                return
            job = json.loads(popped[1])
            body = json.dumps(job["payload"], separators=(",", ":"), ensure_ascii=False).encode()
            signature = hmac.new(job["app_secret"].encode(), body, hashlib.sha256).hexdigest()
            headers = {
                "Content-Type": "application/json",
                "X-Pusher-Key": job["app_key"],
                "X-Pusher-Signature": signature,
            }
            session.post(f"http://127.0.0.1:{port}/", data=body, headers=headers, timeout=10)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_seconds(pid: int) -> float:
    """Return the user and system seconds of a process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def fill(server: RedisServer, count: int) -> None:
    """Put numbered jobs on the list, as Sockudo would."""
    client = server.client()
    bodies = jobs(count)
    for start in range(0, count, 1000):
        client.rpush(LIST, *bodies[start : start + 1000])


def measure_naive(server: RedisServer, port: int, count: int) -> tuple[float, float]:
    """Return jobs per second and CPU microseconds per job."""
    fill(server, count)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.naive_ratio", "--naive", str(server.port), str(port), str(count)],
        stdout=subprocess.PIPE,
    )
    watched = psutil.Process(process.pid)
    client = server.client()
    while client.llen(LIST) >= count:  # until the interpreter has started and the first job is taken
        time.sleep(0.001)
    started, cpu, used = time.monotonic(), sum(watched.cpu_times()[:2]), 0.0
    while client.llen(LIST):
        used = sum(watched.cpu_times()[:2]) - cpu
        time.sleep(0.005)
    took = time.monotonic() - started
    process.wait()
    return count / took, used / count * 1e6


def measure_daemon(server: RedisServer, port: int, count: int) -> tuple[float, float]:
    """Return jobs per second and CPU microseconds per job."""
    url = f"http://127.0.0.1:{port}/"
    with DaemonProcess(config(app(webhook(url))), redis_url=server.url) as daemon:
        daemon.wait_ready(10)
        cpu = cpu_seconds(daemon.pid)
        fill_client = server.client()
        bodies = jobs(count)
        # One command, so that the work begins when everything is there.
        pipeline = fill_client.pipeline(transaction=True)
        for start in range(0, count, 1000):
            pipeline.rpush(LIST, *bodies[start : start + 1000])
        pipeline.execute()
        started = time.monotonic()
        while True:
            if fill_client.dbsize() == 0:
                break
            time.sleep(0.005)
        took = time.monotonic() - started
        used = cpu_seconds(daemon.pid) - cpu
        daemon.terminate()
        daemon.wait(10)
    return count / took, used / count * 1e6


def main() -> None:
    """Run both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--naive", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.naive:
        naive(*options.naive)
        return
    ratios, cpu_ratios = [], []
    with tempfile.TemporaryDirectory() as directory, RedisServer() as server:
        nginx, port = start_nginx(Path(directory))
        try:
            for _ in range(options.rounds):
                loop, loop_cpu = measure_naive(server, port, options.jobs // 4)
                ours, ours_cpu = measure_daemon(server, port, options.jobs)
                ratios.append(ours / loop)
                cpu_ratios.append(ours_cpu / loop_cpu)
                print(
                    f"naive loop {loop:6.0f} jobs/s {loop_cpu:5.0f} us CPU   "
                    f"daemon {ours:6.0f} jobs/s {ours_cpu:5.0f} us CPU   "
                    f"ratio {ours / loop:4.2f}   CPU ratio {ours_cpu / loop_cpu:4.2f}",
                    flush=True,
                )
        finally:
            nginx.terminate()
    print(f"median ratio {statistics.median(ratios):.2f}, median CPU ratio {statistics.median(cpu_ratios):.2f}")


if __name__ == "__main__":
    main()
