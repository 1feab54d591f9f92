"""Training under torchrun, srun, and in a batch script that starts nobody."""

from __future__ import annotations

import os

import pytest
from engine_runs import finish, in_processes, tiny_recipe, train, weights_hash
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.engine.distributed import is_first_process, launcher_size, plugins
from MambaSynthTraining.record import read_record
from Testing.library.clusters import batch, interactive, srun, torchrun

TORCHRUN_IN_A_JOB = [{**batch(1), **process} for process in torchrun(4, nodes=2)]
TORCHRUN_BY_SRUN = [  # one torchrun on each node; which of them gets rank 0 is chance
    {**srun(2, nodes=2)[node], **process}
    for node, process in zip([1, 1, 0, 0], torchrun(4, nodes=2), strict=True)
]


@pytest.fixture
def environment(monkeypatch):
    """environment(variables): these are the launcher's, and no others."""

    def replaced(variables):
        for name in list(os.environ):
            if name.startswith("SLURM_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "")  # so that it is restored
        monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return replaced


@pytest.mark.parametrize(
    ("processes", "size", "whom"),
    [
        ([{}], (1, 1), []),
        ([batch(4)], (1, 1), [LightningEnvironment]),
        ([interactive(4)], (1, 1), [LightningEnvironment]),
        (srun(4), (4, 1), [SLURMEnvironment]),
        (srun(4, nodes=2), (2, 2), [SLURMEnvironment]),
        (srun(1), (1, 1), [SLURMEnvironment]),
        (torchrun(4, nodes=2), (2, 2), []),
        (TORCHRUN_IN_A_JOB, (2, 2), []),
        (TORCHRUN_BY_SRUN, (2, 2), []),
    ],
)
def test_the_launcher_says_how_many_processes_there_are_and_one_of_them_is_first(
    environment, processes, size, whom
):
    first = []
    for variables in processes:
        environment(variables)
        assert launcher_size() == size
        assert [type(plugin) for plugin in plugins()] == whom
        first.append(is_first_process())
    assert first.count(True) == 1


def test_nodes_with_unequal_numbers_of_tasks_are_refused(environment):
    environment({**srun(3)[0], "SLURM_STEP_NUM_NODES": "2"})
    with pytest.raises(RequestError, match="3 tasks on 2 nodes.*--ntasks-per-node"):
        launcher_size()


def test_a_batch_script_without_srun_trains_alone_and_does_not_wait_for_others(tmp_path):
    recipe = tiny_recipe()
    train(recipe, tmp_path / "alone")
    finish(in_processes(1, recipe, tmp_path / "batch", launcher=lambda count: [batch(2)]))
    assert weights_hash(tmp_path / "batch") == weights_hash(tmp_path / "alone")


def test_the_tasks_of_srun_train_together_without_ntasks_per_node(tmp_path):
    finish(in_processes(2, tiny_recipe(shards=2), tmp_path / "srun", launcher=srun))
    record = read_record(tmp_path / "srun")
    assert record["finished"] and record["processes"] == 2
