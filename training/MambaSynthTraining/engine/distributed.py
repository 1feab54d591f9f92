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
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn


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
    """Processes for each node and nodes, as torchrun or SLURM started them; else 1 and 1."""
    environment = os.environ
    if "LOCAL_WORLD_SIZE" in environment:  # torchrun
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return int(environment["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1


def is_first_process() -> bool:
    """Whether this process writes; known before any of them has found the others."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(int(os.environ.get(name) or 0) == 0 for name in ranks)


def strategy(processes: int) -> Any:
    """Lightning's strategy for so many processes altogether."""
    return Processes() if processes > 1 else "auto"


def plugins() -> list[Any]:
    """Under SLURM: no checkpoint of Lightning's own at the end of a job; ours is on the disk."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
