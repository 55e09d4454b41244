"""ddp.py PATCHES BATCH STEPS PRECISION: one rank of PyTorch's DistributedDataParallel over gloo.

Started once per rank with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, by a Python that has
torch; one thread each, channels_last, no augmentation. PATCHES is what `peers` wrote for it:
`patches.json` and raw arrays as a patch set stores them, which a thread decodes one batch ahead.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

WARMUP = 2
FILL = -32768


class UNet(nn.Module):
    """The network of the benchmark in its plain form: (B, C, H, W) -> (B, 1, H, W) logits."""

    def __init__(self, channels: int, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        downward = zip((channels, *widths), widths, strict=False)
        self.down = nn.ModuleList(self._two(below, width) for below, width in downward)
        upward = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(self._two(below + width, width) for below, width in upward)
        self.logits = nn.Conv2d(widths[0], 1, 1)

    @staticmethod
    def _two(channels: int, width: int) -> nn.Sequential:
        layers = []
        for before in (channels, width):
            conv = nn.Conv2d(before, width, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight)
            layers += [conv, nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for convolutions in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = convolutions(torch.cat([x, skips.pop()], 1))
        return self.logits(x)


class Patches:
    """Raw arrays of n patches, mapped from disk, and batches of those of one rank."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "patches.json").read_text())
        shape = about["patches"], about["size"], about["size"], about["channels"]
        self.image = self._mapped(folder / "image.raw", torch.int16, shape)
        self.label = self._mapped(folder / "label.raw", torch.uint8, shape[:3])
        self.scale, self.offset = (torch.tensor(about[name]) for name in ("scale", "offset"))
        self.mean, self.std = (torch.tensor(about[name]) for name in ("mean", "std"))

    @staticmethod
    def _mapped(path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        size = int(torch.tensor(shape).prod())
        return torch.from_file(str(path), dtype=dtype, size=size).reshape(shape)

    def batch(self, which: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) normalised, missing values zero, and (B, 1, H, W) truth, both float32."""
        stored = self.image[which]
        scale, offset = self.scale[which] / self.std, (self.offset[which] - self.mean) / self.std
        image = stored * scale[:, None, None] + offset[:, None, None]
        image.masked_fill_(stored == FILL, 0)
        return image.permute(0, 3, 1, 2), (self.label[which] == 1).float()[:, None]


def main(folder: Path, batch: int, num_steps: int, precision: str) -> float:
    """Patches per second of all ranks together, without the first steps."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    patches = Patches(folder)
    network = UNet(len(patches.mean)).to(memory_format=torch.channels_last)
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    mine = range(rank, len(patches.image), size)
    ahead: queue.Queue = queue.Queue(maxsize=2)

    def read() -> None:
        for step in range(WARMUP + num_steps):
            first = step * batch
            ahead.put(patches.batch([mine[(first + i) % len(mine)] for i in range(batch)]))

    threading.Thread(target=read, daemon=True).start()
    for step in range(WARMUP + num_steps):
        if step == WARMUP:
            began = time.perf_counter()
        image, truth = ahead.get()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(image)
        functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
        optimizer.step()
    torch.distributed.barrier()
    seconds = time.perf_counter() - began
    torch.distributed.destroy_process_group()
    return size * batch * num_steps / seconds


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
