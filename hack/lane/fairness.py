#!/usr/bin/env python3
"""A quiet pod's requests, alone and beside a pod on the same node that sends as much as it can over many connections.

  fairness.py HARNESS_DIRECTORY WORK_DIRECTORY NETLOAD LANE_TEMPLATE AGENT [REPETITIONS [SECONDS [STREAMS]]]

The quiet pod sends 128 bytes and waits for the answer, again and again. On a plain network and through our agents, in turn.
The work directory holds ca.pem and ca.key. Prints a table; everything started is taken down at the end.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

# It takes the first argument.
from tree import HARNESS, bench

P = bench.P
QUIET, GREEDY = "q", "g"


def address(pod):
    return f"10.91.{1 if pod[0] == 'c' else 2}.{1 if pod[1] == QUIET else 2}"


class Four(bench.Lane):
    """Two pods on each of two nodes: a client and a server of the quiet and of the greedy one."""

    meshed = True

    def prepare(self):
        if not self.meshed:
            return
        for out, source in self.spec["files"].items():
            (self.dir / out).write_text(self.sub((bench.HERE / "templates" / source).read_text()))
        pods = [side + who for who in (QUIET, GREEDY) for side in "cs"]
        mesh = {"policies": [], "services": [], "workloads": [
            {"uid": f"cluster1//v1/Pod/default/{pod}", "name": pod, "namespace": "default", "serviceAccount": pod,
             "workloadIps": [address(pod)], "protocol": "HBONE", "node": "na" if pod[0] == "c" else "nb", "network": "",
             "trustDomain": "cluster.local", "services": {}} for pod in pods]}
        (self.dir / "local.yaml").write_text(json.dumps(mesh))
        for who in (QUIET, GREEDY):
            subprocess.run([bench.HERE / "topo.sh", "redirect", who], check=True)
        for side, end in (("a", "c"), ("b", "s")):
            told = [f"netns={P}-{end}-{who},name={end}{who},namespace=default,sa={end}{who}" for who in (QUIET, GREEDY)]
            self.spawn(f"{P}-x{side}-{QUIET}", [sys.executable, bench.HERE / "zds.py", self.dir / f"zds-{side}.sock"] + told,
                       f"zds-{side}")
        time.sleep(0.3)

    def start(self):
        self.prepare()
        if self.meshed:
            for side in "ab":
                self.start_side(side)
        for who in (QUIET, GREEDY):
            self.spawn(f"{P}-s-{who}", [self.netload, "server"], f"server-{who}")
        self.until_works()


def received(namespace):
    """Bytes that came to a pod over its link."""
    text = subprocess.run(bench.ns(namespace, "cat", "/proc/net/dev"), capture_output=True, text=True, check=True).stdout
    return sum(int(line.split(":")[1].split()[0]) for line in text.splitlines() if "eth0:" in line)


def quiet(lane, seconds):
    """p50 and p99 of the quiet pod's requests, microseconds."""
    command = [lane.netload, "rr", "-h", address("s" + QUIET), "-c", 1, "-s", 128, "-d", seconds]
    run = subprocess.run(bench.ns(f"{P}-c-{QUIET}", *command), capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"the quiet pod's requests failed: {run.stderr or run.stdout}")
    result = json.loads(run.stdout)
    return result["p50"], result["p99"]


def repetition(lane, seconds, streams):
    lane.start()
    try:
        quiet(lane, 1)
        alone = quiet(lane, seconds)
        greedy = subprocess.Popen(
            bench.ns(f"{P}-c-{GREEDY}", lane.netload, "bulk", "-h", address("s" + GREEDY), "-c", streams, "-d", 600),
            stdout=subprocess.DEVNULL)
        try:
            # All of its connections are there, and busy.
            time.sleep(2)
            before, began = received(f"{P}-s-{GREEDY}"), time.monotonic()
            beside = quiet(lane, seconds)
            rate = (received(f"{P}-s-{GREEDY}") - before) * 8 / (time.monotonic() - began) / 1e9
            if greedy.poll() is not None or rate < 0.1:
                sys.exit(f"the greedy pod is none: {rate:.2f} Gbit/s, ended with {greedy.poll()}")
        finally:
            greedy.kill()
            greedy.wait()
        return *alone, *beside, beside[1] / alone[1], rate
    finally:
        lane.stop()


def row(what, samples):
    cells = []
    for values, digits in zip(zip(*samples), (0, 0, 0, 0, 1, 1)):
        middle, low, high = statistics.median(values), min(values), max(values)
        cells.append(f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]")
    print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def main():
    work, netload, template, agent = map(os.path.realpath, sys.argv[1:5])
    given = list(map(int, sys.argv[5:8]))
    repetitions, seconds, streams = given + [5, 3, 1000][len(given):]
    subprocess.run([f"{HARNESS}/topo.sh", "down"])
    print(f"beside {streams} greedy connections; microseconds; median [lowest-highest] of {repetitions}\n")
    print("| | alone, p50 | p99 | beside, p50 | p99 | p99 ÷ alone | greedy pod, Gbit/s |\n|---|---|---|---|---|---|---|")
    samples = {}
    try:
        for number in range(repetitions):
            for what in ("plain network", "our agents"):
                # What the last one left in the kernel, such as streams that are sent again and again, ends with its pods.
                subprocess.run([f"{HARNESS}/topo.sh", "up", QUIET, GREEDY], check=True)
                lane = Four(pathlib.Path(work), netload, QUIET, 1, template, agent, {})
                lane.meshed = what == "our agents"
                samples.setdefault(what, []).append(repetition(lane, seconds, streams))
                subprocess.run([f"{HARNESS}/topo.sh", "down"])
            print(f"repetition {number + 1} of {repetitions} is done", file=sys.stderr, flush=True)
        for what, values in samples.items():
            row(what, values)
    finally:
        subprocess.run([f"{HARNESS}/topo.sh", "down"])


main()
