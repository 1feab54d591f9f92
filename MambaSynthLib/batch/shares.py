"""Which of the files are this process's: the array task it belongs to, and its rank in that task.

    6000 files > array task 2 of 4: files 1501-3000 > process 1 of 2: files 1501-2250

| launcher       | what it sets                               | source                        |
|----------------|--------------------------------------------|-------------------------------|
| torchrun       | RANK, WORLD_SIZE, LOCAL_RANK               | torch/distributed/run.py      |
| srun           | SLURM_STEP_ID, _STEP_NUM_TASKS, _PROCID    | Slurm src/common/env.c,       |
|                |                                            | setup_env, env_array_for_step |
| sbatch alone   | SLURM_NTASKS and _PROCID=0, but no step ID | env_array_for_batch_job there |
| sbatch --array | SLURM_ARRAY_TASK_ID, _MIN, _COUNT, _STEP   | src/slurmctld/job_mgr.c,      |
|                |                                            | _create_job_array             |
| qsub -J        | PBS_ARRAY_INDEX, and no count              | PBS Professional User's Guide |

The script of a batch job runs once, however many tasks the job asks for: its SLURM_PROCID is no
rank, and one process does all files. The step of an array is 1 unless ``:STEP`` was written, so a
list such as ``--array=1,2,9`` does not tell a task which of them it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from MambaSynthLib.errors import RequestError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
ARRAY = tuple(f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "COUNT", "STEP"))
PBS_INDICES = ("PBS_ARRAY_INDEX", "PBS_ARRAYID")  # PBS Professional and OpenPBS; Torque
LARGEST_STEP = 0xFFFFFFF0  # SLURM_MAX_NORMAL_STEP_ID of slurm.h; above: interactive, batch, extern

Item = TypeVar("Item")


@dataclass(frozen=True)
class Rank:
    """One of ``count`` processes that were started together; ``local``: on this machine."""

    number: int = 0
    count: int = 1
    local: int = 0


@dataclass(frozen=True)
class Share:
    """One of ``count`` parts of a list, ``number`` from 0, and in words why it is this one."""

    number: int = 0
    count: int = 1
    words: tuple[str, ...] = ()

    def bounds(self, total: int) -> tuple[int, int]:
        """First and one past last of ``total`` items; the parts differ by one at most."""
        return total * self.number // self.count, total * (self.number + 1) // self.count

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this part; each item is in one part."""
        first, end = self.bounds(len(items))
        return items[first:end]

    def sentence(self, total: int) -> str:
        """'files 1501-3000 of 6000, array task 2 of 4'."""
        first, end = self.bounds(total)
        which = {0: "no file", 1: f"file {end}"}.get(end - first, f"files {first + 1}-{end}")
        return ", ".join((f"{which} of {total}", *self.words))


def share_of(environment: Mapping[str, str], asked: str | None = None) -> Share:
    """The part of the files for this process: ``asked`` ('2/4') or the array's, and its rank in it.

    Raises
    ------
    RequestError: ``asked`` is no share, the launcher's variables make no sense, or they do not say
        how many tasks the array has.
    """
    rank = rank_of(environment)
    if asked is not None:
        number, count = parse_share(asked)
        kind = "share"
    else:
        number, count = array_task(environment)
        kind = "array task"
    words = [f"{kind} {number + 1} of {count}"] if count > 1 else []
    if rank.count > 1:
        words.append(f"process {rank.number + 1} of {rank.count}")
    elif idle_tasks(environment):
        words.append(f"alone, as srun did not start the {idle_tasks(environment)} tasks of the job")
    return Share(number * rank.count + rank.number, count * rank.count, tuple(words))


def parse_share(text: str) -> tuple[int, int]:
    """'2/4' -> (1, 4): number from 0, and count. Raises RequestError."""
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise RequestError(f"--share is {text!r}; give I/N with I from 1 to N, for example 2/4.")
    return int(found[1]) - 1, int(found[2])


def rank_of(environment: Mapping[str, str]) -> Rank:
    """This process among those that torchrun or srun started; alone where neither did.

    Raises RequestError where their variables make no sense.
    """
    if TORCHRUN[0] in environment and TORCHRUN[1] in environment:
        return _checked(environment, TORCHRUN)
    if is_in_step(environment) and "SLURM_PROCID" in environment:
        step = "SLURM_STEP_NUM_TASKS"  # that of the job, SLURM_NTASKS, is for srun --preserve-env
        tasks = step if step in environment else "SLURM_NTASKS"
        return _checked(environment, ("SLURM_PROCID", tasks, "SLURM_LOCALID"))
    return Rank()


def is_in_step(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process, and not sbatch, salloc or a person."""
    step = environment.get("SLURM_STEP_ID", "")
    return _is_number(step) and int(step) <= LARGEST_STEP


def array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number, from 0, of this job in its array, and how many there are; (0, 1) in no array.

    Raises RequestError where the queue does not tell a task which of how many it is.
    """
    if ARRAY[0] in environment:
        return _slurm_task(environment)
    for name in PBS_INDICES:
        if name in environment:
            raise RequestError(
                f"{name} is {environment[name]}, but PBS does not say how many tasks the array "
                f"has; add --share ${name}/N for an array 1-N, or --share 1/1 to do all files here."
            )
    return 0, 1


def _slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    texts = [environment.get(name, "") for name in ARRAY]
    if all(map(_is_number, texts)) and int(texts[3]) > 0:
        task, least, count, step = map(int, texts)
        number, between = divmod(task - least, step)
        last = str(least + (count - 1) * step)
        even = between == 0 and environment.get("SLURM_ARRAY_TASK_MAX", last) == last
        if even and 0 <= number < count:
            return number, count
    raise RequestError(
        f"{', '.join(ARRAY)} are {', '.join(texts)}, no even range such as --array=1-8; add "
        "--share I/N with the number of this task, or --share 1/1 to do all files here."
    )


def idle_tasks(environment: Mapping[str, str]) -> int:
    """How many tasks a batch job asked for without starting them; 0 in a step or outside SLURM."""
    tasks = environment.get("SLURM_NTASKS", "")
    idle = _is_number(tasks) and int(tasks) > 1 and not is_in_step(environment)
    return int(tasks) if idle else 0


def _checked(environment: Mapping[str, str], names: tuple[str, str, str]) -> Rank:
    texts = [environment.get(name, "0") for name in names]
    if all(map(_is_number, texts)) and int(texts[0]) < int(texts[1]):
        return Rank(*map(int, texts))
    raise RequestError(f"{', '.join(names)} are {', '.join(texts)}; unset them.")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
