"""What a GPU could serve at most, calculated from its data sheet; nothing here is measured.

``lipstream bench limits`` prints the table that docs/gpu-limits.md explains and holds.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from lipstream.errors import BackendUnavailable
from lipstream.inference.backends import BatchRange, TensorInfo
from lipstream.inference.backends.cuda import (
    ADDRESS_BYTES,
    ALIGNMENT,
    PATCH_BYTES,
    feature_tensors,
    head_bytes,
)
from lipstream_bench.report import FPS, Report, Settings, Subject

METHOD = (
    "calculated, not measured: docs/gpu-limits.md has the formulas. Wav2Lip's mouth graph at 96"
    " pixels in fp16, batches of 32, pictures of 512 x 512 at 25 a second, one avatar; every unit"
    " of the card busy all the time, which none is"
)
BATCH = BatchRange().most
KERNEL_GAP_S = 1.5e-6
"""Between two kernels of one CUDA graph: assumed."""
CALL_S = 4e-6
"""Of a call of the CUDA runtime from Python: assumed."""
BATCH_CALLS = 2
"""Of a batch, however many frames it has: its CUDA graph is launched and waited for."""
PATCH = 256 * 160
"""Pixels that a mouth can touch, of a face that fills a picture of 512 x 512."""
_PASTE_MOUTH_BYTES, _PASTE_PATCH_BYTES = 58, 10.5
"""Read and written by the kernels for a pixel of a mouth, and for one of a patch: levels, the soft
edge, what is blurred and four floats twice; the picture, its detail and its I420."""
NVENC_PIXELS = 600 * 1920 * 1080
"""H.264 pixels a second of one encoder of the Ada generation: assumed, for the fast presets."""
SOFTWARE_CORES = 0.49
"""Of a processor, for a stage with one viewer whose pictures it pastes and encodes: measured, see
docs/scaling.md."""
HOST_CORES, HOST_SHARE = 16, 0.75
AVATAR_PICTURES = 115


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as NVIDIA's data sheets have it."""

    name: str
    multiprocessors: int
    boost_hz: float
    fp16_per_clock: int
    """Floating-point operations of the tensor cores of one multiprocessor a clock, not sparse."""
    bandwidth: float
    """Of its memory, bytes a second."""
    memory: float
    """Bytes."""
    pcie: float
    """One way, bytes a second."""
    encoders: int
    streams: int | None = None
    """Streams its driver encodes at once; None where it sets no limit."""

    @property
    def flops(self) -> float:
        """Of fp16 a second, at boost clock."""
        return self.multiprocessors * self.fp16_per_clock * self.boost_hz


CARDS = (
    Card("L4", 58, 2.04e9, 1024, 300e9, 24e9, 32e9, 2),
    Card("L40S", 142, 2.52e9, 1024, 864e9, 48e9, 32e9, 3),
    Card("RTX 4090", 128, 2.52e9, 1024, 1008e9, 24e9, 32e9, 2, streams=8),
    Card("H100 SXM", 132, 1.83e9, 4096, 3350e9, 80e9, 64e9, 0),
)
NETWORK, COPIES, PASTE, ENCODING, PCIE = "network", "copies", "paste", "encoding", "PCIe"
LIMITS = (NETWORK, COPIES, PASTE, ENCODING, PCIE)


@dataclass(frozen=True, slots=True)
class Convolution:
    """What one does for one row."""

    flops: int
    weights: int
    """Numbers."""
    moved: int
    """Numbers read and written, without the weights."""


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes that a backend reserves, beside what the engine's weights and the driver take."""

    device: int
    page_locked: int


def memory_of(
    inputs: dict[str, TensorInfo],
    outputs: dict[str, TensorInfo],
    batch_rows: int,
    working_bytes: int,
    avatars: Sequence[int],
) -> GpuMemory:
    """Return what sessions of some avatars take; ``avatars`` has the number of pictures of each.

    With tensors t of b(t) bytes a row, n features f among them, batches of up to M rows, working
    memory W and F pictures of all avatars together::

        page_locked = M * (sum b(t) + 8 (n + 2))
        device      = M * (sum b(t) + 8 (n + 2)) + 16 n + W + F * sum b(f)

    where M * 8 (n + 2), what rows are told, is rounded up to 256, and 0 without features. Where
    mouths are pasted on the card, more: patches, and the pictures.

    The number of sessions is not in it: they share the batch, and those of one avatar its bank.
    """
    features = [row_bytes(one) for one in feature_tensors(inputs).values()]
    heads = batch_rows * head_bytes(len(features)) if features else 0
    table = -(-heads // ALIGNMENT) * ALIGNMENT
    batch = table + batch_rows * sum(map(row_bytes, (*inputs.values(), *outputs.values())))
    places = len(features) * 2 * ADDRESS_BYTES
    return GpuMemory(batch + places + working_bytes + sum(avatars) * sum(features), batch)


def paste_memory_of(mouth: TensorInfo, batch_rows: int, pictures: Sequence[int]) -> GpuMemory:
    """Return what pasting on the card takes besides; ``pictures`` has the pixels pasted into each.

    With m pixels of a mouth, batches of up to M rows and pictures of p pixels::

        page_locked = M * PATCH_BYTES
        device      = M * (PATCH_BYTES + 24 m) + 4 m + sum (9 p + 3 m)
    """
    pixels = row_bytes(mouth) // 3
    patches = batch_rows * PATCH_BYTES
    banks = sum(9 * size + 3 * pixels for size in pictures)
    return GpuMemory(patches + (24 * batch_rows + 4) * pixels + banks, patches)


def row_bytes(tensor: TensorInfo) -> int:
    """Return the bytes of one row."""
    sizes = [size or 1 for size in tensor.shape[1:]]
    return int(np.prod(sizes)) * np.dtype(tensor.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Network:
    """A mouth graph as the calculation sees it."""

    layers: tuple[Convolution, ...]
    inputs: dict[str, TensorInfo]
    """float32: half precision begins inside the graph."""
    outputs: dict[str, TensorInfo]

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Of a frame: sound that goes up, and pixels that come down."""
        return row_bytes(self.inputs["mel"]), sum(map(row_bytes, self.outputs.values()))

    @property
    def features(self) -> dict[str, TensorInfo]:
        """What an avatar's bank holds."""
        return {name: one for name, one in self.inputs.items() if name != "mel"}

    @property
    def feature_bytes(self) -> int:
        """Of one frame of a bank."""
        return sum(map(row_bytes, self.features.values()))

    def memory(self) -> GpuMemory:
        """Return what a card needs for any number of sessions of one avatar, without weights."""
        return memory_of(self.inputs, self.outputs, BATCH, 0, [AVATAR_PICTURES])

    def paste_memory(self) -> GpuMemory:
        """Return what pasting takes besides."""
        return paste_memory_of(self.outputs["mouth"], BATCH, [PATCH] * AVATAR_PICTURES)


def count_network() -> Network:
    """Count what Wav2Lip's mouth graph does, by running it once in torch.

    Raises BackendUnavailable without torch.
    """
    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable("lipstream bench limits needs torch: pip install torch")
    import torch  # noqa: PLC0415  optional
    from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415

    from lipstream_models.networks.wav2lip import FaceGraph, MouthGraph, Wav2Lip  # noqa: PLC0415

    layers: list[Convolution] = []

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            count = flop_registry.get(func._overloadpacket)
            if count is not None:
                flops = int(count(*args, **(kwargs or {}), out_val=out))
                layers.append(Convolution(flops, args[1].numel(), args[0].numel() + out.numel()))
            return out

    network = Wav2Lip().eval()
    mel = torch.zeros(1, 1, 80, 16)
    with torch.no_grad():
        features = FaceGraph(network)(torch.zeros(1, 96, 96, 3, dtype=torch.uint8))
        with Counter():  # type: ignore[no-untyped-call]
            mouth = MouthGraph(network)(mel, *features)
    inputs = {"mel": TensorInfo((None, 1, 80, 16), "float32")}
    for number, feature in enumerate(features):
        inputs[f"feature {number}"] = TensorInfo((None, *feature.shape[1:]), "float32")
    outputs = {"mouth": TensorInfo((None, *mouth.shape[1:]), "uint8")}
    return Network(tuple(layers), inputs, outputs)


def batch_seconds(card: Card, layers: Sequence[Convolution], rows: int) -> float:
    """Return how long a batch takes at least: each layer what it computes or what it moves."""
    return sum(
        KERNEL_GAP_S
        + max(
            rows * layer.flops / card.flops,
            2 * (layer.weights + rows * layer.moved) / card.bandwidth,
        )
        for layer in layers
    )


def gather_seconds(card: Card, network: Network) -> float:
    """Return what a batch takes to be told and to have its features copied from their banks."""
    return BATCH_CALLS * CALL_S + 2 * BATCH * network.feature_bytes / card.bandwidth


def sessions_of(card: Card, network: Network) -> dict[str, float | None]:
    """Return how many sessions each unit serves; None of a card without encoders.

    ``docs/gpu-limits.md`` has each formula.
    """
    up, down = network.frame_bytes
    fps = float(FPS)
    pasted = _PASTE_MOUTH_BYTES * down // 3 + _PASTE_PATCH_BYTES * PATCH + PATCH_BYTES
    encoded = min(
        card.encoders * NVENC_PIXELS / (512 * 512 * fps),
        float("inf") if card.streams is None else card.streams,
    )
    return {
        NETWORK: BATCH / batch_seconds(card, network.layers, BATCH) / fps,
        COPIES: BATCH / (gather_seconds(card, network) * fps),
        PASTE: card.bandwidth / (pasted * fps),
        ENCODING: encoded if card.encoders else None,
        PCIE: card.pcie / (max(up, PATCH_BYTES) * fps),
    }


def by_software() -> float:
    """Return how many sessions the processor beside the card pastes and encodes."""
    return HOST_CORES * HOST_SHARE / SOFTWARE_CORES


def first_to_bind(sessions: dict[str, float | None]) -> str:
    """Return the limit that fills first; encoding without encoders is the processor's."""
    counts = {name: by_software() if one is None else one for name, one in sessions.items()}
    return min(counts, key=lambda name: counts[name])


def measure_limits(_: Settings | None = None) -> Report:
    """Calculate the table as a report."""
    network = count_network()
    summary: dict[str, float] = {}
    for card in CARDS:
        for name, count in sessions_of(card, network).items():
            if count is not None:
                summary[f"{card.name}: sessions by {name}"] = float(count)
    up, down = network.frame_bytes
    summary |= {
        "a frame: GFLOP": sum(layer.flops for layer in network.layers) / 1e9,
        "a frame: bytes up": up,
        "a frame: bytes down": down,
        "a frame pasted on the card: bytes down": PATCH_BYTES,
        "a frame of a bank: MB": network.feature_bytes / 1e6,
        "kernels": len(network.layers),
        "one avatar and the batch: MB on the card": network.memory().device / 1e6,
        "to paste there: MB on the card": network.paste_memory().device / 1e6,
        "sessions pasted and encoded by the processor": by_software(),
    }
    subject = Subject("Wav2Lip, 96 pixels, fp16", f"{AVATAR_PICTURES} pictures", float(FPS), 0.0)
    return Report("limits", METHOD, subject, (), summary)


def limits_table(report: Report) -> str:
    """Return the table as Markdown, as the documents have it."""
    lines = [
        f"| card | {' | '.join(LIMITS)} | fills first |",
        f"|---|{'---:|' * len(LIMITS)}---|",
    ]
    for card in CARDS:
        sessions = {name: report.summary.get(f"{card.name}: sessions by {name}") for name in LIMITS}
        cells = ["none" if one is None else f"{one:,.0f}" for one in sessions.values()]
        lines.append(f"| {card.name} | {' | '.join(cells)} | {first_to_bind(sessions)} |")
    return "\n".join(lines)


def print_limits(report: Report, console: Console) -> None:
    """Show what ``measure_limits`` calculated."""
    head, _, *rows = limits_table(report).splitlines()
    table = Table(title="sessions at most", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for heading in _cells(head):
        table.add_column(heading, justify="left" if heading.startswith(("card", "f")) else "right")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for name, value in report.summary.items():
        if "sessions by" not in name:
            console.print(f"{name}: {value:,.6g}", highlight=False)
    console.print(f"method: {report.method}", highlight=False, soft_wrap=True)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
