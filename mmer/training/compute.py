"""Bring a model into the form in which its steps are computed: compiled, laid out, recomputed, in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins import TorchSyncBatchNorm
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import nn
from torch.distributed.constants import default_pg_timeout
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmer.config import ComputeConfig
from mmer.encoders.norms import MaskedBatchNorm
from mmer.encoders.video.frames import PerFrame
from mmer.errors import ConfigError
from mmer.model import EmotionModel

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class FullySharded(ModelParallelStrategy):
    """FSDP2: every process keeps a part of the weights and of the optimiser's state (arXiv:2304.11277).

    It is ``--trainer.strategy=fsdp2``. Checkpoints are whole, in one file, as without it.

    Args:
        timeout: How long a process is waited for that does not answer.
    """

    def __init__(self, timeout: timedelta | None = default_pg_timeout) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout)

    def share_statistics(self, model: nn.Module) -> None:
        """Do what ``sync_batchnorm`` asks for, before the weights are in parts; Lightning leaves it out here."""
        if self._layer_sync is not None:
            self._layer_sync.apply(model)

    def setup_environment(self) -> None:
        """Let all processes share all weights; Lightning's default is for those of one machine to share each layer."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def register_strategies() -> None:
    """Let Lightning know ``--trainer.strategy=fsdp2`` by its name."""
    StrategyRegistry.register(
        "fsdp2", FullySharded, description="FSDP2 over all processes, whole checkpoints", override=True
    )


class SyncStatistics(TorchSyncBatchNorm):
    """Let every BatchNorm that learns take the statistics of all processes, ours over masked steps too.

    It is what ``--trainer.sync_batchnorm=true`` does here.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Share statistics.

        Raises:
            ConfigError: PyTorch's own norms are to share theirs without a GPU.
        """
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
        if norms and dist.get_backend() == "gloo":
            raise ConfigError(
                "trainer.sync_batchnorm=true wants GPUs for the BatchNorm of PyTorch's networks; leave it out, or "
                "train on GPUs"
            )
        self._share(model, True)
        return super().apply(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """Let every process take its own again."""
        self._share(model, False)
        return super().revert(model)

    @staticmethod
    def _share(model: nn.Module, synced: bool) -> None:
        for module in model.modules():
            if isinstance(module, MaskedBatchNorm):
                module.synced = synced


def shape(model: EmotionModel, config: ComputeConfig, mesh: DeviceMesh | None = None) -> None:
    """Bring a model into the form in which it is trained; its parameters keep their names and their values.

    Args:
        model: The model.
        config: How it is computed.
        mesh: The processes that share its weights, each keeping a part; None keeps them whole.

    Raises:
        ConfigError: Nothing of the model can be computed anew, or weights in parts are to be laid out.
    """
    if mesh is not None and config.channels_last:
        raise ConfigError(
            "model.compute.channels_last=true is not for trainer.strategy=fsdp2, which keeps weights in one layout; "
            "leave one of them out"
        )
    torch.set_float32_matmul_precision(config.matmul)
    if config.channels_last:
        _lay_out(model)
    if config.activation_checkpointing:
        _recompute(model)
    if mesh is not None:
        _shard(model, mesh)
    if config.compile != "none":
        mode = None if config.compile == "default" else config.compile
        for module in (*model.encoders.values(), model.fusion):
            module.compile(mode=mode)  # in place, so that names in checkpoints stay


def _lay_out(model: EmotionModel) -> None:
    """Lay the weights of convolutions over pictures out channel after channel; what they put out follows."""
    for parameter in model.encoders.parameters():
        if parameter.ndim in _FORMATS:
            parameter.data = parameter.data.contiguous(memory_format=_FORMATS[parameter.ndim])


def _recompute(model: EmotionModel) -> None:
    """Let the layers of encoders forget their activations.

    Raises:
        ConfigError: No encoder has such layers.
    """
    layers = [layer for layer in _layers(model) if not _learns_statistics(layer)]
    if not layers:
        raise ConfigError(
            f"model.compute.activation_checkpointing is for encoders with layers of their own, and "
            f"{', '.join(model.encoders)} have none, or none without a BatchNorm that learns; leave it out"
        )
    for layer in layers:
        layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _layers(model: EmotionModel) -> Iterator[nn.Module]:
    """Yield the parts of encoders that are called one after the other."""
    for encoder in model.encoders.values():
        if isinstance(encoder, PerFrame):  # whose layers are groups of parameters
            yield from _rows(encoder)
        else:
            yield from getattr(encoder, "layers", ())


def _rows(network: nn.Module) -> Iterator[nn.Module]:
    """Yield what stands in a row of a network and has parts of its own, as the blocks of a transformer."""
    for module in network.children():
        if isinstance(network, nn.Sequential | nn.ModuleList) and any(module.children()):
            yield module
        else:
            yield from _rows(module)


def _learns_statistics(layer: nn.Module) -> bool:
    return any(isinstance(each, _BatchNorm | MaskedBatchNorm) and each.training for each in layer.modules())


def _shard(model: EmotionModel, mesh: DeviceMesh) -> None:
    """Give every process its part of each layer, all beginning with the weights of the first."""
    model.to(mesh.device_type)  # NCCL sends nothing that is elsewhere
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.contiguous()  # FSDP2 takes no other layout
        dist.broadcast(tensor.data, src=0)
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
