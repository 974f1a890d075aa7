"""Our CUDA kernels (``mouth.cu``) in numpy, each for a whole grid.

Each step rounds as the kernel's does, so that what comes out differs where a card fuses a
multiplication with an addition, and by no more than a level.
"""

import ctypes

import numpy as np

from lipstream.inference.backends.cuda import _TARGET, _Mouths

_GAUSSIAN = np.float32([0.39894346, 0.24197145, 0.05399113, 0.00443186, 0.00013383])


def gather(gpu, grid, heads, head_bytes, places):
    """Copy the features of each row to the batch."""
    _, features, rows = grid
    for row in range(rows):
        sources = gpu.view(heads + row * head_bytes, features, np.uint64)
        for source, (address, size) in zip(
            sources.tolist(), gpu.view(places, (features, 2), np.uint64).tolist(), strict=True
        ):
            if source:
                target = gpu.view(address + row * size, size, np.uint8)
                target[:] = gpu.view(source, size, np.uint8)


def told(gpu, grid, heads, head_bytes, paste_at):
    """Yield each row that is pasted: its number, its target and its openness."""
    for row in range(grid[2]):
        at = heads + row * head_bytes + paste_at
        (target,) = gpu.view(at, 1, np.uint64).tolist()
        if target:
            yield row, gpu.view(target, 1, _TARGET)[0], gpu.view(at + 8, 1, np.float32)[0]


def change(gpu, grid, heads, head_bytes, paste_at, mouths):
    """Find what each mouth changes, and how much detail is to fade."""
    size = (mouths.rows, mouths.side)
    pixels = mouths.rows * mouths.side
    feather = gpu.view(mouths.feather, size, np.float32)
    edge = feather < 0.5
    edge[mouths.rows // 2 :] = False
    for row, target, openness in told(gpu, grid, heads, head_bytes, paste_at):
        painted = gpu.view(mouths.painted + 3 * row * pixels, (*size, 3), np.uint8)
        rest = gpu.view(int(target["rest"]), (*size, 3), np.uint8)
        difference = painted.astype(int) - rest
        count = max(1, edge.sum())
        moved = np.float32(difference) - np.float32(difference[edge].sum(0) / count)
        full = _blurred(_blurred(np.abs(moved).max(2), 1), 0)
        fade = np.clip((full - np.float32(4)) * np.float32(1 / 16), 0, 1)
        share = feather * openness
        layers = gpu.view(mouths.layers + 16 * row * pixels, (*size, 4), np.float32)
        layers[..., :3], layers[..., 3] = moved * share[..., None], fade * share


def _blurred(levels, axis):
    reach = [(0, 0), (0, 0)]
    reach[axis] = (4, 4)
    padded, length = np.pad(levels, reach, "reflect"), levels.shape[axis]
    sides = [np.take(padded, np.arange(length) + 4 + k, axis) for k in range(-4, 5)]
    total = _GAUSSIAN[0] * sides[4]
    for k in range(1, 5):
        total += _GAUSSIAN[k] * (sides[4 - k] + sides[4 + k])
    return total


def paste(gpu, grid, heads, head_bytes, paste_at, mouths, patches, patch_bytes):
    """Add what ``change`` found to the pictures: I420 of each part."""
    pixels = mouths.rows * mouths.side
    for row, target, _ in told(gpu, grid, heads, head_bytes, paste_at):
        height, width = target["size"].tolist()
        part = gpu.view(int(target["part"]), (height, width, 3), np.uint8)
        detail = gpu.view(int(target["detail"]), (height, width, 3), np.int16)
        layers = gpu.view(
            mouths.layers + 16 * row * pixels, (mouths.rows, mouths.side, 4), np.float32
        )
        one = _scaled(layers, target["inverse"].reshape(2, 3), height, width)
        shown = _levels(part + (one[..., :3] - one[..., 3:] * detail.astype(np.float32)))
        blue, green, red = np.moveaxis(shown, 2, 0)
        luma = (102760 * blue + 528482 * green + 269484 * red + (16 << 20) + (1 << 19)) >> 20
        quads = shown.reshape(height // 2, 2, width // 2, 2, 3)
        b, g, r = np.moveaxis(np.float32((quads.sum((1, 3)) + 2) >> 2), 2, 0)
        full = np.float32(112 / 255)
        f = np.float32
        u = full * (b - f(0.587) / f(0.886) * g - f(0.299) / f(0.886) * r) + f(128)
        v = full * (r - f(0.114) / f(0.701) * b - f(0.587) / f(0.701) * g) + f(128)
        flat = [luma, _levels(u), _levels(v)]
        out = gpu.view(patches + row * patch_bytes, height * width * 3 // 2, np.uint8)
        out[:] = np.concatenate([plane.reshape(-1) for plane in flat])


def _levels(values):
    return np.clip(np.rint(values), 0, 255).astype(int)


def _scaled(layers, inverse, height, width):
    rows, side = layers.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    u, v = (a * x + b * y + c for a, b, c in inverse)
    left, top = np.floor(u), np.floor(v)
    across, down = _cubic(u - left), _cubic(v - top)
    padded = np.pad(layers, ((4, 4), (4, 4), (0, 0)))
    left, top = np.clip(left, -3, side + 2).astype(int), np.clip(top, -3, rows + 2).astype(int)
    total = np.zeros((height, width, 4), np.float32)
    for j in range(4):
        for i in range(4):
            taken = padded[np.clip(top + 3 + j, 0, rows + 7), np.clip(left + 3 + i, 0, side + 7)]
            total += (across[i] * down[j])[..., None] * taken
    return total


def _cubic(at):
    a, one, five, eight, four = map(np.float32, (-0.75, 1, 5, 8, 4))
    further, left = at + one, one - at
    first = ((a * further - five * a) * further + eight * a) * further - four * a
    second = ((a + 2) * at - (a + 3)) * at * at + one
    third = ((a + 2) * left - (a + 3)) * left * left + one
    return first, second, third, one - first - second - third


_pointer, _int = ctypes.c_uint64, ctypes.c_int32
_row = (_pointer, _int, _int, _Mouths)
TWINS = {
    "gather": ((_pointer, _int, _pointer), gather),
    "change": (_row, change),
    "paste": ((*_row, _pointer, _int), paste),
}
"""Name -> types of its arguments, and its twin."""
