"""Which processor to compute on, in which number format, and with how many processes."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist

from maskdiff_edu.errors import SettingsError

Precision = Literal["auto", "bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class Processes:
    """The processes that train together: one, unless torchrun started more.

    >>> Processes(rank=1, local_rank=1, count=4).share(batch_size=16)
    slice(4, 8, None)
    """

    rank: int = 0  #: which one this is; 0 writes the files
    local_rank: int = 0  #: which one on its machine, which is the GPU it uses
    count: int = 1
    on_machine: int = 1  #: of them on this machine

    def share(self, batch_size: int) -> slice:
        """This process's part of a batch. Raises SettingsError if the parts differed in size."""
        if batch_size % self.count:
            raise SettingsError(
                f"batch_size: expected a multiple of the {self.count} processes, got {batch_size}"
            )
        part = batch_size // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number that each process has one of."""
        if self.count > 1:
            value = value / self.count
            dist.all_reduce(value)
        return value

    @contextmanager
    def leaving_together(self) -> Iterator[None]:
        """No process leaves this block before all of them have, even if one works for hours."""
        group = None
        if self.count > 1:  # a group of its own: others give up after ten minutes
            group = dist.new_group(timeout=timedelta(days=1), backend="gloo")
        yield
        if group is not None:
            dist.barrier(group)
            dist.destroy_process_group(group)


def join_processes() -> Processes:
    """Meet the other processes, if torchrun started this one."""
    if not dist.is_torchelastic_launched():
        return Processes()
    if not dist.is_initialized():
        dist.init_process_group(_backends())
    local_rank, on_machine = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    return Processes(dist.get_rank(), local_rank, dist.get_world_size(), on_machine)


def _backends() -> str:
    """What carries tensors from process to process: gloo for a CPU's, NCCL for those of GPUs.

    Both, where there are GPUs: a training may run on the CPU of such a machine too.
    """
    has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if has_gpus else "gloo"


def share_gradients(model: nn.Module) -> nn.Module:
    """The same model, its gradients averaged over all processes after every backward pass."""
    is_shared = dist.is_initialized() and dist.get_world_size() > 1
    return nn.parallel.DistributedDataParallel(model) if is_shared else model


def choose_device(name: str = "auto", processes: Processes = Processes()) -> torch.device:
    """The device called `name`; "auto" takes an NVIDIA or AMD GPU, else Apple's, else the CPU.

    Several processes on one machine each take a GPU of their own. Raises SettingsError if torch
    does not know the name, this machine has no such device, or fewer GPUs than processes.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in found.items() if there), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f'device: expected "auto", "cpu", "cuda" or "mps", got {name!r}'
        ) from error
    if device.type not in ("cpu", *found):
        raise SettingsError(f'device: expected "auto", "cpu", "cuda" or "mps", got {name!r}')
    if not found.get(device.type, True):
        raise SettingsError(
            f'device: expected one of this machine, such as "auto", got {name!r}: it has none'
        )
    if name == "cuda" and processes.count > 1:
        if (gpus := torch.cuda.device_count()) < processes.on_machine:
            raise SettingsError(
                f"device: expected at most {gpus} processes on this machine for its {gpus} GPUs, "
                f"got {processes.on_machine}; use --device cpu or fewer processes"
            )
        return torch.device("cuda", processes.local_rank)
    return device


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The format that matrix products run in; weights, norms and the loss stay float32.

    "auto": bfloat16 where the hardware multiplies it (it has float32's range), else float16 on an
    NVIDIA GPU (needs its gradients scaled), else float32; on MPS too, where older releases of torch
    cannot scale gradients. Raises SettingsError for an unknown name.

    >>> choose_precision("float16", torch.device("cuda"))
    torch.float16
    """
    if name == "auto":
        if _is_good_at_bfloat16(device):
            return torch.bfloat16
        return torch.float16 if device.type == "cuda" else torch.float32
    try:
        formats = ("bfloat16", "float16", "float32")
        return getattr(torch, formats[formats.index(name)])
    except ValueError as error:
        raise SettingsError(
            f'precision: expected "auto" or one of {formats}, got {name!r}'
        ) from error


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Inside this context matrix products and convolutions run in `precision`."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


def _is_good_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # torch 2.10 and later
        able = torch.cpu.get_capabilities()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return False


def peak_memory(device: torch.device) -> int | None:
    """Bytes used at most so far, by this process on a CPU, by its tensors on an NVIDIA GPU.

    None where the system does not tell (Windows, MPS).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
