"""Where the code computes: which device is chosen, and that nothing leaves it on the way.

No GPU is needed. Meta tensors have no values and fake CUDA tensors no memory; both refuse to mix
with a CPU's tensors and to hand a value to Python, for which a real GPU would be waited for.
"""

import sys
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from own_masks import own_masks
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskdiff_edu.devices import (
    Processes,
    choose_device,
    choose_precision,
    join_processes,
    peak_memory,
)
from maskdiff_edu.diffusion import (
    FPM,
    IPM,
    MIXED_BANDS,
    NETWORKS,
    PAPER_PATCHES,
    RELEASED_PATCHES,
    UNetConfig,
    as_x_0,
    reconstruct,
    reconstruct_by_chain,
)
from maskdiff_edu.diffusion.autoencoder import make_network
from maskdiff_edu.diffusion.sampling import by_boxes
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.training import (
    PRESETS,
    denoising_loss,
    hide_and_noise,
    make_corruption,
    make_noise,
    make_schedule,
)

SMALL = UNetConfig((8,), 1, 2, True, True, 8, 8)
BY_PRESET = {name: make_corruption(config) for name, config in PRESETS.items()}
OTHERS = {
    "paper": IPM(PAPER_PATCHES, "mean"),
    "released": IPM(RELEASED_PATCHES, "noise"),
    "mixed": FPM(MIXED_BANDS, keep_mean=True),
} | own_masks()


class IndexingWithoutCuda(TorchFunctionMode):
    """Spells x[...] and ~x out in operators: Python's own way asks even here for a CUDA driver."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is not torch.Tensor.__getitem__:
            return func(*args, **(kwargs or {}))
        x, index = args
        index = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in [i for i in index if not isinstance(i, torch.Tensor)]:
            at = index.index(Ellipsis)
            consumed = sum(i is not None for i in index) - 1
            index[at : at + 1] = [slice(None)] * (x.ndim - consumed)
        axis = 0
        for i in index:
            if i is None:
                x, axis = x.unsqueeze(axis), axis + 1
            elif isinstance(i, int):
                x = x.select(axis, i)
            elif isinstance(i, slice):
                x, axis = torch.ops.aten.slice(x, axis, i.start, i.stop, i.step or 1), axis + 1
            else:
                assert axis == 0 and len(index) == 1, "a tensor must be the only index"
                x = torch.ops.aten.index(x, [i])
        return x


class NothingCrosses(TorchDispatchMode):
    """Refuses every operation that takes from the one device and gives to the other: `x.cpu()`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        devices = {x.device.type for x in leaves if isinstance(x, torch.Tensor)}
        if len(devices) > 1:
            raise RuntimeError(f"{func} carries numbers between the devices {sorted(devices)}")
        return result


def pretend(device):
    """A context in which "meta" or "cuda" tensors can be computed with, though without values."""
    stack = ExitStack()
    if device == "cuda":
        for mode in (FakeTensorMode(), NothingCrosses(), IndexingWithoutCuda()):
            stack.enter_context(mode)
    return stack


def a_batch(device):
    images = torch.empty(4, 1, 96, 96, device=device)
    return images, torch.empty(4, 1, 96, 96, device=device, dtype=torch.bool)


def a_network(device, config=SMALL, learns=False):
    """A `UNet` with weights on the device, and the weights."""
    with torch.device("meta"):
        net = make_network(config)
    weights = {
        name: nn.Parameter(torch.empty(p.shape, device=device), requires_grad=learns)
        for name, p in net.named_parameters()
    }
    return lambda x_t, t: functional_call(net, weights, (x_t, t)), weights


def move(schedule, device):
    """As `schedule.to(device)`, which would ask for a CUDA driver."""
    for name, table in list(schedule.named_buffers()):
        setattr(schedule, name, torch.empty(table.shape, device=device))
    return schedule


SETTINGS = [
    {"precision": "float32", "noise": noise, "prediction": prediction, "box": box}
    for noise, prediction, box in product(("fractal", "gaussian"), ("x_0", "eps", "v"), (0, 48))
]
both_devices = pytest.mark.parametrize("device", ["meta", "cuda"])


@both_devices
@pytest.mark.parametrize("corrupt", BY_PRESET.values(), ids=BY_PRESET)
def test_a_training_step_stays_on_its_device_and_waits_for_nothing(corrupt, device):
    """Hiding, noising, the network and the loss; on the meta device the gradients too."""
    learns = device == "meta"  # the backward pass of a fake CUDA tensor asks for a real GPU
    for settings in SETTINGS:
        config = replace(PRESETS["ddpm"], **settings)
        schedule = make_schedule(config)
        with pretend(device):
            model, weights = a_network(device, learns=learns)
            noised = hide_and_noise(*a_batch(device), corrupt, move(schedule, device), config)
            error = denoising_loss(model, noised.share(slice(0, 2)), schedule, config)
            assert error.shape == () and error.device.type == device
        if learns:
            error.backward()
            assert {weight.grad.device.type for weight in weights.values()} == {"meta"}


@both_devices
@pytest.mark.parametrize("corrupt", OTHERS.values(), ids=OTHERS)
def test_the_other_corruptions_stay_and_wait_for_nothing_either(corrupt, device):
    with pretend(device):
        x_0_masked = corrupt(*a_batch(device), None)
        assert x_0_masked.shape == (4, 1, 96, 96) and x_0_masked.device.type == device


@both_devices
@pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values()))
)
def test_a_reconstruction_stays_on_its_device_and_waits_for_nothing(settings, device):
    config = replace(PRESETS["ddpm"], **settings)
    schedule, networks = make_schedule(config), []
    # Made before anything is pretended: a fake tensor cannot be copied as the wrapper does.
    model = as_x_0(lambda x_t, t: networks[0](x_t, t), config.prediction, schedule)
    with pretend(device):
        (network, _), (images, _) = a_network(device), a_batch(device)
        networks.append(network)
        move(schedule, device)
        if isinstance(model, nn.Module):
            move(model.schedule, device)
        options = {"noise": make_noise(config)}
        boxed = by_boxes(model, images, config.box) if config.box else model
        x_0_hat = reconstruct(boxed, images, [100, 150], schedule, **options)
        chain = reconstruct_by_chain(model, images, [150, 0], schedule, **options)
        assert x_0_hat.shape == chain.shape == images.shape
        assert x_0_hat.device.type == chain.device.type == device


@both_devices
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_stay_on_their_device(name, device):
    with pretend(device):
        model, weights = a_network(device, NETWORKS[name], learns=device == "meta")
        answer = model(a_batch(device)[0], torch.empty(4, device=device, dtype=torch.long))
        x_0_hat = answer[0] if isinstance(answer, tuple) else answer
        assert x_0_hat.shape == (4, 1, 96, 96) and x_0_hat.device.type == device
    if device == "meta":
        x_0_hat.sum().backward()
        assert all(weight.grad.shape == weight.shape for weight in weights.values())


# The same training step with a corruption that does what it must not


def asks_for_a_number(images, brain_masks, generator):
    return images * brain_masks.float().mean().item()


def decides_by_a_value(images, brain_masks, generator):
    return images if brain_masks.any() else -images


def counts_pixels(images, brain_masks, generator):
    return images - torch.masked_select(images, brain_masks).mean()


def draws_on_the_cpu(images, brain_masks, generator):
    return images + torch.rand(images.shape)


def goes_there_and_back(images, brain_masks, generator):
    return images.cpu().flip(-1).to(images.device)


SAYS = {
    asks_for_a_number: {"meta": "item.. cannot be called on meta", "cuda": "_local_scalar_dense"},
    decides_by_a_value: {"meta": "item.. cannot be called on meta", "cuda": "_local_scalar_dense"},
    counts_pixels: {"meta": "masked_select", "cuda": "masked_select"},
    draws_on_the_cpu: {"meta": "not on the expected device", "cuda": "to be on the same device"},
    goes_there_and_back: {"meta": "Cannot copy out of meta", "cuda": "carries numbers between"},
}


@both_devices
@pytest.mark.parametrize("wrong", SAYS)
def test_a_corruption_that_leaves_the_device_or_waits_is_caught(wrong, device):
    config = replace(PRESETS["ddpm"], precision="float32")
    schedule = make_schedule(config)
    with pretend(device):
        arguments = [*a_batch(device), wrong, move(schedule, device), config]
        with pytest.raises((RuntimeError, NotImplementedError), match=SAYS[wrong][device]):
            hide_and_noise(*arguments)


# The choice


@pytest.mark.parametrize(
    "there, expected",
    [(("cuda", "mps"), "cuda"), (("cuda",), "cuda"), (("mps",), "mps"), ((), "cpu")],
)
def test_auto_takes_the_fastest_device_there_is(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    assert choose_device() == choose_device("auto") == torch.device(expected)
    for name in ("cuda", "mps"):
        if name in there:
            assert choose_device(name) == torch.device(name)
        else:
            with pytest.raises(SettingsError, match=f"expected one of this machine.*got .{name}"):
                choose_device(name)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_device_that_torch_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r'"auto", "cpu", "cuda" or "mps", got \'abacus\''):
        choose_device("abacus")


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = [Processes(rank, rank % 2, 4, 2) for rank in range(4)]  # two machines of two GPUs
    for name in ("auto", "cuda"):
        chosen = [choose_device(name, processes) for processes in ranks]
        assert chosen == [torch.device("cuda", number) for number in (0, 1, 0, 1)]
    assert choose_device("cpu", ranks[1]) == torch.device("cpu")
    assert choose_device("cuda:0", ranks[1]) == torch.device("cuda:0")
    assert choose_device("cuda", Processes(0, 0, 1)) == torch.device("cuda")  # the current one


def test_more_processes_than_gpus_are_refused_by_all_of_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = [Processes(rank, rank, 3, 3) for rank in range(3)]
    for processes in ranks:
        for name in ("auto", "cuda"):
            with pytest.raises(SettingsError, match=r"at most 2 processes.*2 GPUs, got 3;"):
                choose_device(name, processes)
        assert choose_device("cpu", processes) == torch.device("cpu")


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("nccl", [True, False])
def test_processes_meet_with_a_backend_for_every_device(monkeypatch, gpu, nccl):
    """A training on the CPU of a machine with GPUs needs gloo, although NCCL is there."""
    asked = []
    for name, value in (("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found_by = {"is_torchelastic_launched": True, "is_initialized": False}
    found_by |= {"is_nccl_available": nccl, "get_rank": 3, "get_world_size": 4}
    for name, found in found_by.items():
        monkeypatch.setattr(torch.distributed, name, lambda found=found: found)
    monkeypatch.setattr(torch.distributed, "init_process_group", asked.append)
    assert join_processes() == Processes(rank=3, local_rank=1, count=4, on_machine=2)
    assert asked == ["cpu:gloo,cuda:nccl" if gpu and nccl else "gloo"]


@pytest.mark.parametrize("able", [True, False])
def test_auto_precision_takes_what_the_hardware_multiplies(monkeypatch, able):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    on_cuda = torch.bfloat16 if able else torch.float16
    assert choose_precision("auto", torch.device("cuda")) == on_cuda
    for feature in ("amx_bf16", "avx512_bf16"):
        features = {"avx2": True, feature: able}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda f=features: f, raising=False)
        on_cpu = torch.bfloat16 if able else torch.float32
        assert choose_precision("auto", torch.device("cpu")) == on_cpu
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_a_precision_by_its_name():
    for name in ("bfloat16", "float16", "float32"):
        assert choose_precision(name, torch.device("cpu")) == getattr(torch, name)
    with pytest.raises(ValueError, match="got 'int8'"):
        choose_precision("int8", torch.device("cpu"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with Linux's /proc")
def test_peak_memory_is_in_bytes():
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    assert peak_memory(torch.device("cpu")) == pytest.approx(1024 * int(kilobytes), rel=0.05)
    assert peak_memory(torch.device("mps")) is None
