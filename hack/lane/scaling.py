#!/usr/bin/env python3
"""What a request and a connection cost as more is open, known, or at work: processor time of both nodes' agents.

  scaling.py HARNESS_DIRECTORY WORK_DIRECTORY NETLOAD LANE_TEMPLATE AGENT [REPETITIONS]

The work directory holds ca.pem and ca.key. Prints a table; everything started is taken down at the end.
"""
import os
import pathlib
import statistics
import subprocess
import sys

# It takes the first argument, and counts what a proxy's children use.
from tree import HARNESS, bench

OPEN = (10, 1000, 10_000)
KNOWN = (0, 10_000, 50_000)
THREADS = (1, 2, 4)
SECONDS = 2


class Settings(bench.Lane):
    """A lane whose agents have one setting more."""

    setting = ""

    def prepare(self):
        super().prepare()
        for side in "ab":
            with open(self.dir / f"agent-{side}.yaml", "a") as file:
                file.write(self.setting)


def cost(lane, test):
    """Microseconds of processor time of both agents for one request or connection, and the rate."""
    runs = {**bench.suite_runs("lat", SECONDS), **bench.suite_runs("churn", SECONDS)}
    result = bench.one(lane, *runs[test])
    if "error" in result or result["errors"]:
        sys.exit(f"{test} failed: {result}")
    return (result["cpu"]["a"] + result["cpu"]["b"]) / result["ops"] * 1e6, result["rate"]


def row(what, samples):
    """One line of the table: median, lowest and highest."""
    cells = []
    for values in zip(*samples):
        cells.append(f"{statistics.median(values):.0f} [{min(values):.0f}-{max(values):.0f}]")
    print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def measured(lane, repetitions):
    for _ in range(repetitions):
        requests, rate = cost(lane, "sat16")
        connections, new = cost(lane, "churn16")
        yield requests, rate, connections, new


def with_open(lane, count):
    held = subprocess.Popen(
        bench.ns(lane.cns, lane.netload, "idle", "-h", lane.sip, "-c", count),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not held.stdout.readline():
        sys.exit(f"{count} connections could not be opened")
    return held


def main():
    work, netload, template, agent = map(os.path.realpath, sys.argv[1:5])
    repetitions = int(sys.argv[5]) if len(sys.argv) > 5 else 3
    subprocess.run([f"{HARNESS}/topo.sh", "down"])
    subprocess.run([f"{HARNESS}/topo.sh", "up", "scale"], check=True)
    lane = Settings(pathlib.Path(work), netload, "scale", 1, template, agent, {})
    print("| | us/request | requests/s | us/connection | connections/s |\n|---|---|---|---|---|")
    try:
        lane.start()
        for count in OPEN:
            held = with_open(lane, count)
            row(f"{count} connections open", list(measured(lane, repetitions)))
            held.stdin.close()
            held.wait()
        lane.stop()
        for extra in KNOWN:
            lane.extra = extra
            lane.start()
            row(f"{extra + 2} workloads known", list(measured(lane, repetitions)))
            lane.stop()
        lane.extra = 0
        for threads in THREADS:
            lane.setting = f"workerThreads: {threads}\n"
            lane.start()
            row(f"{threads} threads", list(measured(lane, repetitions)))
            lane.stop()
    finally:
        lane.stop()
        subprocess.run([f"{HARNESS}/topo.sh", "down"])


main()
