"""On a cluster, each file belongs to exactly one process, and each process says which are its."""

from __future__ import annotations

import pytest

from MambaSynthLib.batch.shares import Share, idle_tasks, is_in_step, parse_share, rank_of, share_of
from MambaSynthLib.errors import RequestError
from Testing.library.clusters import batch, interactive, pbs_array, slurm_array, srun, torchrun

FILES = [f"{n:03}" for n in range(61)]


def array_of_steps(ids, tasks):
    """A job array whose script starts its tasks with srun."""
    return [{**job, **task} for job in slurm_array(ids) for task in srun(tasks)]


CLUSTERS = {
    "a laptop": [{}],
    "sbatch with 4 tasks and no srun": [batch(4)],
    "a shell of salloc with 4 tasks": [interactive(4)],
    "srun with 4 tasks": srun(4),
    "srun with 4 tasks on 2 nodes": srun(4, nodes=2),
    "srun with 2 of the job's 4 tasks": srun(2, job_tasks=4),
    "an array of 4 from 0": slurm_array(range(4)),
    "an array of 4 from 1": slurm_array(range(1, 5)),
    "an array of 7 from 3": slurm_array(range(3, 10)),
    "an array with a step": slurm_array(range(1, 8, 2), step=2),
    "an array of 1, submitted again": slurm_array([5]),
    "an array of 4, each with srun and 2 tasks": array_of_steps(range(4), 2),
    "torchrun": torchrun(3),
    "torchrun in a batch job": [{**batch(1), **process} for process in torchrun(4, nodes=2)],
    "torchrun in an array of 2": [
        {**job, **process} for job in slurm_array([0, 1]) for process in torchrun(2)
    ],
    "more processes than files": slurm_array(range(80)),
}


@pytest.mark.parametrize("processes", CLUSTERS.values(), ids=CLUSTERS.keys())
def test_every_file_belongs_to_exactly_one_process(processes):
    shares = [share_of(environment) for environment in processes]
    parts = [share.of(FILES) for share in shares]
    assert [file for part in parts for file in part] == FILES
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len({(share.number, share.count) for share in shares}) == len(processes)


@pytest.mark.parametrize("processes", [pbs_array(range(1, 5)), pbs_array(range(4))])
def test_in_a_pbs_array_the_number_of_tasks_is_asked_for(processes):
    for environment in processes:
        index = environment["PBS_ARRAY_INDEX"]
        said = rf"PBS_ARRAY_INDEX is {index}, .*--share \$PBS_ARRAY_INDEX/N .* 1-N, or --share 1/1"
        with pytest.raises(RequestError, match=said):
            share_of(environment)
    parts = [share_of(processes[n], f"{n + 1}/4").of(FILES) for n in range(4)]
    assert [file for part in parts for file in part] == FILES


@pytest.mark.parametrize(
    "environment",
    [
        *slurm_array([1, 2, 9]),
        slurm_array([0, 2, 3, 6], step=2)[2],  # --array=0-2:2,3,6
        {**slurm_array(range(4))[0], "SLURM_ARRAY_TASK_ID": "7"},
        {**slurm_array(range(4))[0], "SLURM_ARRAY_TASK_COUNT": "x"},
        {"SLURM_ARRAY_TASK_ID": "1"},
    ],
)
def test_an_array_that_does_not_say_which_task_this_is_is_refused(environment):
    with pytest.raises(RequestError, match="no even range such as --array=1-8; add --share I/N"):
        share_of(environment)
    assert share_of(environment, "2/3").of(FILES) == FILES[20:40]


@pytest.mark.parametrize(
    ("environment", "asked", "said"),
    [
        ({}, None, "files 1-6000 of 6000"),
        (slurm_array(range(4))[1], None, "files 1501-3000 of 6000, array task 2 of 4"),
        (srun(4)[3], None, "files 4501-6000 of 6000, process 4 of 4"),
        (array_of_steps(range(4), 2)[2], None,
         "files 1501-2250 of 6000, array task 2 of 4, process 1 of 2"),
        (batch(4), None,
         "files 1-6000 of 6000, alone, as srun did not start the 4 tasks of the job"),
        (slurm_array(range(4))[1], "1/1", "files 1-6000 of 6000"),
        ({}, "2/3", "files 2001-4000 of 6000, share 2 of 3"),
        ({}, "6000/6000", "file 6000 of 6000, share 6000 of 6000"),
        ({}, "1/7000", "no file of 6000, share 1 of 7000"),
    ],
)  # fmt: skip
def test_a_process_says_which_files_are_its_and_why(environment, asked, said):
    assert share_of(environment, asked).sentence(6000) == said


def test_ranks_count_the_processes_of_each_machine():
    assert [rank_of(environment).local for environment in srun(4, nodes=2)] == [0, 1, 0, 1]
    assert [rank_of(environment).local for environment in torchrun(4)] == [0, 1, 2, 3]
    assert rank_of({**srun(2)[1], **torchrun(3)[2]}).count == 3  # torchrun was started by srun


def test_only_what_srun_started_is_a_step():
    assert all(map(is_in_step, srun(4)))
    assert not any(map(is_in_step, [{}, batch(4), interactive(4), {"SLURM_STEP_ID": "batch"}]))
    assert (idle_tasks(batch(4)), idle_tasks(srun(4)[0]), idle_tasks(batch(1))) == (4, 0, 0)


@pytest.mark.parametrize("rank", ["4", "-1", "x", "²"])
def test_an_impossible_rank_is_refused(rank):
    for environment, names in [
        ({**torchrun(4)[0], "RANK": rank}, "RANK, WORLD_SIZE, LOCAL_RANK"),
        ({**srun(4)[0], "SLURM_PROCID": rank}, "SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID"),
    ]:
        with pytest.raises(RequestError, match=f"{names} are .*unset"):
            share_of(environment)


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "a/b", "1/0", "1/2/3", "-1/4", "²/4"])
def test_a_share_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(RequestError, match=r"--share is .*; give I/N .*, for example 2/4"):
        parse_share(text)


def test_a_share_is_a_number_from_0_and_a_count():
    assert parse_share(" 2 / 4 ") == (1, 4)
    assert Share(1, 4).bounds(10) == (2, 5)
