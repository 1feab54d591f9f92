"""Several processes: Lightning launches them, and gradients are added up here, phase by phase.

DistributedDataParallel would reduce all networks' gradients in every phase, although each steps
one group of them, and needs a search for unused parameters; see Lightning's manual optimization.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from MambaSynthLib.batch.shares import is_in_step, rank_of
from MambaSynthLib.errors import RequestError


class Processes(DDPStrategy):
    """Lightning's launching and process groups, without a wrapper around the networks."""

    def setup_distributed(self) -> None:
        """After a restart by torchrun its store still holds the addresses of the dead processes;
        the processes of each attempt therefore meet under a name of their own.
        """
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        if attempt and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            dist.init_process_group(
                self._get_process_group_backend(),
                store=dist.PrefixStore(f"attempt {attempt}", dist.TCPStore(host, port)),
                rank=int(os.environ["RANK"]),
                world_size=int(os.environ["WORLD_SIZE"]),
            )
        super().setup_distributed()  # leaves a group that exists as it is

    def configure_ddp(self) -> None:
        """The networks stay as they are; every process built them from the same seed."""


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in one exchange."""
    if not dist.is_initialized() or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, piece in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def average_statistics(networks: nn.Module) -> None:
    """Batch normalization saw different slices in each process; all continue from the mean.

    Other buffers stay each process's own; a checkpoint holds the first process's.
    """
    if dist.is_initialized():
        norms = [m for m in networks.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        running = [x for norm in norms for x in (norm.running_mean, norm.running_var)]
        statistics = [tensor for tensor in running if tensor is not None]
        add_up(statistics)
        for tensor in statistics:
            tensor /= dist.get_world_size()


def launcher_size() -> tuple[int, int]:
    """Processes for each node and nodes, as torchrun or srun started them; else 1 and 1.

    The tasks that a batch job asks for count only once srun has started them: its script is one
    process, which would wait for the others forever.

    Raises RequestError where the nodes have unequal numbers of processes.
    """
    count = rank_of(os.environ).count
    if _is_torchrun():
        local = int(os.environ.get("LOCAL_WORLD_SIZE", count))
        return local, count // local
    if not is_in_step(os.environ):
        return 1, 1
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1")))
    if count % nodes:
        raise RequestError(
            f"srun started {count} tasks on {nodes} nodes, but each node must have as many; use "
            "--ntasks-per-node."
        )
    return count // nodes, nodes


def is_first_process() -> bool:
    """Whether this process writes; known before any of them has found the others."""
    rank = rank_of(os.environ)
    if rank.count > 1:  # LOCAL_RANK and SLURM_PROCID are then about parts of the processes
        return rank.number == 0
    return all(int(os.environ.get(name) or 0) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def strategy(processes: int) -> Any:
    """Lightning's strategy for so many processes altogether."""
    return Processes() if processes > 1 else "auto"


def plugins() -> list[Any]:
    """Whom Lightning takes for the launcher, where it would guess wrong.

    It takes every process with SLURM_NTASKS for a task of srun
    (``lightning/fabric/plugins/environments/slurm.py``: _is_srun_used), also the script of a batch
    job, which then waits for tasks that nobody starts, and those of torchrun inside a job. In a
    step it writes no checkpoint of its own at the end of a job; ours is on the disk.
    """
    if _is_torchrun() or "SLURM_NTASKS" not in os.environ:
        return []
    if not is_in_step(os.environ):
        return [LightningEnvironment()]
    local, _ = launcher_size()
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(local))  # or it refuses ``srun --ntasks``
    return [SLURMEnvironment(auto_requeue=False)]


def _is_torchrun() -> bool:
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE"))
