"""How fast the network is: beside the U-Nets of diffusers and MONAI, of the same size.

All have the same depth, the same blocks and one attention in the middle. The others also convolve
after each upsampling; a wider coarsest level gives ours the same number of parameters.
"""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from bench_masks import in_turns, print_table, ratio
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maskdiff_edu.devices import autocast, choose_precision
from maskdiff_edu.diffusion import (
    Schedule,
    UNet,
    UNetConfig,
    add_noise,
    draw_t,
    fractal_noise,
    loss,
    reconstruct,
)

BATCH = 8
SIDE = 96
WIDTHS = (32, 64, 96)
OUR_WIDTHS = (32, 64, 104)
CPU = torch.device("cpu")


def build_ours(fold: int) -> nn.Module:
    return UNet(UNetConfig(OUR_WIDTHS, 1, fold, False, True, 64, 8))


def build_diffusers() -> nn.Module:
    from diffusers import UNet2DModel

    class Plain(UNet2DModel):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return super().forward(x_t, t, return_dict=False)[0]

    return Plain(
        in_channels=1,
        out_channels=1,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        attention_head_dim=WIDTHS[-1],
        norm_num_groups=8,
    )


def build_monai() -> nn.Module:
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=WIDTHS,
        num_res_blocks=1,
        attention_levels=(False,) * 3,
        num_head_channels=WIDTHS[-1],
        norm_num_groups=8,
        use_flash_attention=True,
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: build_ours(fold=1),
    "ours, fold 2": lambda: build_ours(fold=2),
    "diffusers": build_diffusers,
    "MONAI": build_monai,
}


def make_step(net: nn.Module) -> Callable[[], None]:
    """One training step: noise a batch, denoise it, follow the gradient."""
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    x_0, schedule = torch.rand(BATCH, 1, SIDE, SIDE), Schedule.cosine()
    precision = choose_precision("auto", CPU)

    def step() -> None:
        t = draw_t(BATCH, 100, 349)
        x_t = add_noise(x_0, t, fractal_noise(tuple(x_0.shape)), schedule)
        with autocast(CPU, precision):
            x_0_hat = net(x_t, t)
        optimizer.zero_grad()
        loss(x_0_hat.float(), x_0).backward()
        optimizer.step()

    return step


def make_reconstruction(net: nn.Module) -> Callable[[], None]:
    """One noising and one denoising of a batch, in the layout that detectors use."""
    net = net.to(memory_format=torch.channels_last)
    x_0, schedule = torch.rand(BATCH, 1, SIDE, SIDE), Schedule.cosine()
    precision = choose_precision("auto", CPU)

    def one_step() -> None:
        with autocast(CPU, precision):
            reconstruct(net, x_0, 200, schedule)

    return one_step


JOBS = {"training step": make_step, "reconstruction": make_reconstruction}


def count_flops(name: str) -> dict[str, int]:
    """Of the products in one job each, counted by torch on tensors without contents."""
    with torch.device("meta"):
        net = NETWORKS[name]()
        x_t, t = torch.empty(BATCH, 1, SIDE, SIDE), torch.empty(BATCH, dtype=torch.long)
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            net(x_t, t)
        with FlopCounterMode(display=False) as both:
            net(x_t, t).sum().backward()
    return {"training step": both.get_total_flops(), "reconstruction": forward.get_total_flops()}


def memory_of(name: str, job: str) -> int | None:
    """Bytes that a job needs at most, on top of the libraries and the network (Linux only)."""
    run = JOBS[job](NETWORKS[name]())
    forget_peak = Path("/proc/self/clear_refs")
    if not forget_peak.exists():
        return None
    forget_peak.write_text("5")  # the peak is now what is used now
    before = peak()
    run()
    return peak() - before


def peak() -> int:
    """Bytes, since the peak was last forgotten; getrusage would count the parent process too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def memory_in_a_new_process(name: str, job: str) -> str:
    """The same in a process of its own, whose peak nothing earlier has raised."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        used = executor.submit(memory_of, name, job).result()
    return "?" if used is None else f"{used / 2**20:.0f}"


def make_product(n: int = 2048) -> Callable[[], Tensor]:
    """A large matrix product in the same precision: what the processor can do at best."""
    a, b = torch.randn(2, n, n, dtype=choose_precision("auto", CPU))
    return lambda: a @ b


def compare(job: str, rounds: int) -> None:
    """One job with each network, in turns."""
    nets = {name: build() for name, build in NETWORKS.items()}
    runs = {name: JOBS[job](net) for name, net in nets.items()}
    product = make_product()
    seconds = in_turns({**runs, "product": product}, rounds)
    peak = 2 * 2048**3 / seconds["product"].min()

    header = ("", "parameters", "GFLOPs", "ms", "peak MiB", "of matmul peak", "ours", "with fold")
    rows = [header]
    for name, net in nets.items():
        flops = count_flops(name)[job]
        rows.append(
            (
                name,
                f"{sum(p.numel() for p in net.parameters()):,}",
                f"{flops / 1e9:.1f}",
                f"{1000 * np.median(seconds[name]):.0f}",
                memory_in_a_new_process(name, job),
                f"{flops / seconds[name].min() / peak:.0%}",
                f"{ratio(seconds[name], seconds['ours']):.2f}x",
                f"{ratio(seconds[name], seconds['ours, fold 2']):.2f}x",
            )
        )
    precision = str(choose_precision("auto", CPU)).removeprefix("torch.")
    print_table(
        f"One {job}: batch {BATCH}, {SIDE}x{SIDE}, {precision}, {torch.get_num_threads()} threads, "
        f"matmul {peak / 1e9:.0f} GFLOP/s",
        rows,
    )


if __name__ == "__main__":
    print("The last columns: how many times as long as ours, without and with the fold.")
    print("Asked: over 1x without, well over 1x with it.")
    compare("training step", rounds=9)
    compare("reconstruction", rounds=15)
