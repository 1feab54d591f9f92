"""Before the first slice: help, import, model, first and second volume of a process that stays.

    python -m Testing.benchmarks.startup [--rounds 5]

Every round starts fresh processes. "until the first slice" is the time from the request to the
start of the network's first call, which is what a user waits for in a worker that is warm.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from MambaSynthLib.io.files import write_volume
from Testing.analytic_heads import analytic_head
from Testing.benchmarks.race import arguments, report

MODEL = "cravim-t1w-t2w-compact"
WORKER = """
import json, sys, time
start = time.perf_counter()
from MambaSynthLib.backends import PlacedNetwork
from MambaSynthLib.engine import Engine
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.package import read_package, shipped_models
seconds = {"import of the engine": time.perf_counter() - start}
source = read_volume(sys.argv[1])
middle = source.shape[2] // 2

start = time.perf_counter()
engine = Engine(read_package(shipped_models() / sys.argv[2]), "cpu")
seconds["model loaded"] = time.perf_counter() - start
network, first = engine._network, []

def timed(images):
    first.append(time.perf_counter())
    return network(images)

engine._network = PlacedNetwork(timed, network.places)
for name in ("first volume", "second volume"):
    start, first[:] = time.perf_counter(), []
    engine.synthesize({"T1w": source}, steps=1, slices=(middle, middle + 2))
    seconds[f"{name}: until the first slice"] = first[0] - start
print(json.dumps(seconds))
"""


def seconds_of_process(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def one_round(head: Path) -> dict[str, float]:
    """What is timed -> seconds; ``head`` is a T1w file."""
    seconds = {
        "an empty Python process": seconds_of_process("-c", "pass"),
        "mambasynth --help": seconds_of_process("-m", "MambaSynthLib", "--help"),
        "import MambaSynthLib": seconds_of_process("-c", "import MambaSynthLib"),
    }
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(head), MODEL],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return seconds | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head_T1w.nii.gz"
        write_volume(analytic_head((2.0, 2.0, 2.0), skull=False)["T1w"], head)
        rounds = [one_round(head) for _ in range(options.rounds)]
    rows = []
    for name in rounds[0]:
        values = [seconds[name] for seconds in rounds]
        rows.append({"start-up": name, "s": statistics.median(values), "fastest s": min(values)})
    report("startup", rows, options.out, "s")


if __name__ == "__main__":
    main()
