"""How fast a GPU trains and reconstructs, and whether its digits repeat: `make bench-gpu`.

A step is measured twice: kernel by kernel, and recorded as a CUDA graph, which is how `train` does
it. The last rows are for whoever decides what to change next: another memory layout, or a compiled
network. Takes a few minutes; says so in one sentence where there is no NVIDIA GPU.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from bench_masks import brains, print_table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskdiff_edu.brains import make_cohort
from maskdiff_edu.detection import build_method
from maskdiff_edu.devices import Processes, autocast, choose_precision
from maskdiff_edu.diffusion import NETWORKS, UNet, reconstruct
from maskdiff_edu.scans import to_slices
from maskdiff_edu.training import (
    PRESETS,
    TrainConfig,
    hide_and_noise,
    make_corruption,
    make_schedule,
    train,
)
from maskdiff_edu.training.graph import Follow, kernel_by_kernel, make_follow
from maskdiff_edu.training.pool import Discs
from maskdiff_edu.training.state import TrainState

BATCHES = (8, 32, 128)
STEPS, WARM = 40, 10  # measured, and before that
Row = tuple[str, str, str, str, str]


def seconds_of(job: Callable[[], object], times: int, device: torch.device) -> float:
    """Mean seconds of a call, until the device has done them all."""
    wait(device)
    began = time.perf_counter()
    for _ in range(times):
        job()
    wait(device)
    return (time.perf_counter() - began) / times


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_of(device: torch.device, n: int = 8192) -> float:
    """FLOP a second of a large matrix product in the training's precision."""
    a, b = torch.randn(2, n, n, device=device, dtype=choose_precision("auto", device))
    seconds_of(lambda: a @ b, 3, device)
    return 2 * n**3 / seconds_of(lambda: a @ b, 10, device)


def flops_of(unet: str, b: int) -> int:
    """Of the products of one step, forward and backward."""
    with torch.device("meta"):
        net = UNet(NETWORKS[unet])
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(b, 1, 96, 96), torch.empty(b, dtype=torch.long)).sum().backward()
    return counter.get_total_flops()


def no_change(state: TrainState) -> None:
    """The network as `train` has it."""


def in_channels_last(state: TrainState) -> None:
    for net in (state.net, state.average):
        net.to(memory_format=torch.channels_last)


def compiled(state: TrainState) -> None:
    state.model = torch.compile(state.net)


def both_in_turn(state: TrainState) -> None:
    in_channels_last(state)
    compiled(state)


def follows(
    config: TrainConfig, device: torch.device, change: Callable[[TrainState], None] = no_change
) -> Iterator[tuple[str, Follow, Callable[[], object]]]:
    """A step kernel by kernel, then recorded, each with a state of its own and a batch for it."""
    schedule = make_schedule(config).to(device)
    x_0, brain_masks = (part.to(device) for part in brains(config.batch_size))
    noised = hide_and_noise(x_0, brain_masks, make_corruption(config), schedule, config)
    for kind in ("eager", "graph"):
        state = TrainState(config, device, None)
        change(state)
        if kind == "eager":
            follow = kernel_by_kernel(state, schedule)
        else:
            follow = make_follow(state, schedule, noised, Processes())
        yield kind, follow, lambda follow=follow: follow(noised)


def step_row(name: str, config: TrainConfig, device: torch.device, peak: float, change) -> Row:
    """Milliseconds of a step, and the share of the matmul peak that the recorded one reaches."""
    try:
        seconds = {}
        for kind, _, job in follows(config, device, change):
            seconds_of(job, WARM, device)
            seconds[kind] = seconds_of(job, STEPS, device)
        share = flops_of(config.unet, config.batch_size) / seconds["graph"] / peak
        eager, graph = (f"{1000 * seconds[kind]:.2f}" for kind in ("eager", "graph"))
        return name, eager, graph, f"{seconds['eager'] / seconds['graph']:.1f}x", f"{share:.1%}"
    except Exception as error:  # one variant that does not run leaves the others
        return name, type(error).__name__, " ".join(str(error).split())[:60], "", ""


def step_rows(device: torch.device, batches: tuple[int, ...] = BATCHES) -> Iterator[Row]:
    peak = peak_of(device, 8192 if device.type == "cuda" else 512)
    yield "matmul peak, TFLOP/s", "", f"{peak / 1e12:.0f}", "", ""
    for unet in ("folded", "paper"):
        for b in batches:
            config = replace(PRESETS["fpm-cm"], unet=unet, batch_size=b)
            yield step_row(f"{unet}, batch {b}, ms", config, device, peak, no_change)
    changes = {"channels_last": in_channels_last, "compile": compiled, "both": both_in_turn}
    for name, change in changes.items():
        for b in (batches[0], batches[-1]):
            config = replace(PRESETS["fpm-cm"], unet="paper", batch_size=b)
            yield step_row(f"paper, {name}, batch {b}, ms", config, device, peak, change)


def training_row(device: torch.device, steps: int = 300) -> Row:
    """`train` itself: batches, corruption and noise included, on slices that cost nothing."""
    config = replace(PRESETS["fpm-cm"], steps=steps + WARM)
    running = train(config, Discs(), device=str(device))
    list(islice(running, WARM))
    wait(device)
    began = time.perf_counter()
    for _ in running:
        pass
    wait(device)
    minutes = 10_000 * (time.perf_counter() - began) / steps / 60
    return "train, 10,000 steps of fpm-cm, minutes", "", f"{minutes:.1f}", "", ""


def reconstruction_rows(device: torch.device, b: int = 128) -> Iterator[Row]:
    schedule, (x_0, _) = make_schedule(PRESETS["fpm-cm"]).to(device), brains(b)
    net = UNet(NETWORKS["folded"]).eval().to(device, memory_format=torch.channels_last)
    x_0 = x_0.to(device)
    for precision in ("float32", "auto"):
        with autocast(device, choose_precision(precision, device)):

            def job() -> Tensor:
                return reconstruct(net, x_0, 200, schedule)

            seconds_of(job, WARM, device)
            rate = b / seconds_of(job, STEPS, device)
        yield f"reconstruction in {precision}, slices a second", f"{rate:,.0f}", "", "", ""


def bits_rows(device: torch.device, steps: int = 20) -> Iterator[Row]:
    """Whether two trainings, and both kinds of step, end in the same bits."""
    config = replace(PRESETS["fpm-cm"], steps=steps)

    def weights() -> Tensor:
        *_, last = train(config, Discs(), device=str(device))
        return torch.cat([weight.flatten() for weight in last.model.parameters()]).cpu()

    once, again = weights(), weights()
    yield "two trainings end in the same bits", "", str(torch.equal(once, again)), "", ""
    ends = {}
    for kind, follow, job in follows(config, device):
        ends[kind] = torch.stack([job()[0] for _ in range(steps)]).cpu()
        del follow
    same = torch.equal(ends["eager"], ends["graph"])
    apart = (ends["eager"] - ends["graph"]).abs().max().item()
    yield "losses of eager and graph are the same bits", str(same), f"{apart:.1e} apart", "", ""


def maps_row(device: torch.device) -> Row:
    """The demo patient's map, which is promised to be the same everywhere up to rounding."""
    slices = to_slices(next(make_cohort("test", "tumour", 1)))
    here, there = (
        build_method("fpm-cm", device=name).detector.detect(slices).anomaly_map
        for name in ("cpu", str(device))
    )
    apart = (here - there).abs().max().item()
    return "demo patient's map, CPU and GPU apart", f"{apart:.1e}", "", "", ""


def main() -> int:
    if not torch.cuda.is_available():
        print("There is no NVIDIA GPU here, so nothing is measured.")
        return 0
    warnings.simplefilter("always")  # a recording that fails says why
    device, began = torch.device("cuda"), time.perf_counter()
    rows: list[Row] = [("", "eager", "graph", "faster", "of matmul peak")]
    rows += step_rows(device)
    rows += [training_row(device), *reconstruction_rows(device), *bits_rows(device)]
    rows.append(maps_row(device))
    name = torch.cuda.get_device_name(device)
    print_table(f"{name}, torch {torch.__version__}, {time.perf_counter() - began:.0f} s", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
