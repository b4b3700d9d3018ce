#!/usr/bin/env python3
"""The harness' bench.py, counting for each proxy what its children use as well: our agent is two processes.

  tree.py HARNESS_DIRECTORY [arguments of bench.py]
"""
import pathlib
import sys

HARNESS = sys.argv.pop(1)
sys.path.insert(0, HARNESS)
import bench  # noqa: E402, its place is an argument


def tree(pid):
    """The process and all that descend from it."""
    found = [int(pid)]
    for one in found:
        for task in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def added(measure):
    """A measure of one process, taken of all, added up; one that ended meanwhile counts for nothing."""
    def of_all(pid):
        values = []
        for one in tree(pid):
            try:
                values.append(measure(one))
            except (FileNotFoundError, ProcessLookupError):
                if one == int(pid):
                    raise
        if isinstance(values[0], dict):
            return {key: sum(value[key] for value in values) for key in values[0]}
        return sum(values)
    return of_all


bench.cpu = added(bench.cpu)
bench.mem = added(bench.mem)
if __name__ == "__main__":
    bench.main()
