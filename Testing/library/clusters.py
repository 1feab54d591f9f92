"""Environments as clusters give them to a process, copied from what the launchers set.

| here            | set by, in                                                                     |
|-----------------|--------------------------------------------------------------------------------|
| ``batch``       | Slurm ``src/common/env.c``: env_array_for_batch_job sets SLURM_NTASKS of the   |
|                 | job; slurmstepd runs the script as task 0, setup_env sets no SLURM_STEP_ID,    |
|                 | as the batch step's is negative there                                          |
| ``srun``        | the same file: env_array_for_step and setup_env                                |
| ``interactive`` | salloc with use_interactive_step: ``--preserve-env`` keeps SLURM_NTASKS, and   |
|                 | SLURM_STEP_ID is SLURM_INTERACTIVE_STEP of ``slurm.h``                         |
| ``slurm_array`` | ``src/slurmctld/job_mgr.c``: _create_job_array; the step is what stands after  |
|                 | ``:``, else 1                                                                  |
| ``torchrun``    | ``torch/distributed/elastic/agent/server/local_elastic_agent.py``: the worker  |
|                 | environment in _start_workers                                                  |
| ``pbs_array``   | PBS Professional User's Guide, "Environment Variables for Job Arrays"          |
"""

from __future__ import annotations

from collections.abc import Sequence

Environment = dict[str, str]


def batch(tasks: int) -> Environment:
    """The script of ``sbatch --ntasks=TASKS``, without srun."""
    return {
        "SLURM_JOB_ID": "4711", "SLURM_JOBID": "4711", "SLURM_JOB_NAME": "synth",
        "SLURM_NTASKS": str(tasks), "SLURM_NPROCS": str(tasks),
        "SLURM_NNODES": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_TASKS_PER_NODE": str(tasks),
        "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_GTIDS": "0",
        "ENVIRONMENT": "BATCH",
    }  # fmt: skip


def srun(tasks: int, job_tasks: int | None = None, nodes: int = 1) -> list[Environment]:
    """Every task of ``srun --ntasks=TASKS`` in a job of ``job_tasks`` tasks on ``nodes`` nodes."""
    each = tasks // nodes
    return [
        {
            **batch(job_tasks or tasks),
            "SLURM_STEP_ID": "0", "SLURM_STEPID": "0",
            "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NUM_NODES": str(nodes),
            "SLURM_NTASKS": str(tasks), "SLURM_NPROCS": str(tasks), "SLURM_NNODES": str(nodes),
            "SLURM_NODEID": str(task // each),
            "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % each),
        }
        for task in range(tasks)
    ]  # fmt: skip


def interactive(tasks: int) -> Environment:
    """The shell that ``salloc --ntasks=TASKS`` opens on a node."""
    step = str(0xFFFFFFFA)
    one = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": step, "SLURM_STEPID": step}
    return {**batch(tasks), **one}


def slurm_array(ids: Sequence[int], step: int = 1) -> list[Environment]:
    """Every task of ``sbatch --array=IDS``, each one process."""
    return [
        {
            **batch(1),
            "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(len(ids)), "SLURM_ARRAY_TASK_STEP": str(step),
            "SLURM_ARRAY_TASK_MIN": str(min(ids)), "SLURM_ARRAY_TASK_MAX": str(max(ids)),
        }
        for task in ids
    ]  # fmt: skip


def torchrun(processes: int, nodes: int = 1, port: int = 29500) -> list[Environment]:
    """Every process of ``torchrun --nproc-per-node``, ``processes`` on all nodes together."""
    each = processes // nodes
    return [
        {
            "LOCAL_RANK": str(rank % each), "RANK": str(rank), "GROUP_RANK": str(rank // each),
            "ROLE_RANK": str(rank), "ROLE_NAME": "default", "LOCAL_WORLD_SIZE": str(each),
            "WORLD_SIZE": str(processes), "GROUP_WORLD_SIZE": str(nodes),
            "ROLE_WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port), "TORCHELASTIC_RESTART_COUNT": "0",
            "TORCHELASTIC_MAX_RESTARTS": "0", "TORCHELASTIC_RUN_ID": "none",
        }
        for rank in range(processes)
    ]  # fmt: skip


def pbs_array(ids: Sequence[int]) -> list[Environment]:
    """Every subjob of ``qsub -J``: PBS tells the index, and not how many there are."""
    return [
        {"PBS_JOBID": f"42[{index}].server", "PBS_ARRAY_ID": "42[].server",
         "PBS_ARRAY_INDEX": str(index), "PBS_ENVIRONMENT": "PBS_BATCH"}
        for index in ids
    ]  # fmt: skip
