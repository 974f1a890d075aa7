"""Colours of decoded pictures and of films to write: matrix, range, primaries, transfer, HDR.

Numbers are FFmpeg's, which are those of ITU-T H.273. Pictures may have an ICC profile instead, as
phones' have: Display P3 shown as if it were sRGB is pale.
"""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
import PIL.Image
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import ImageCms

from lipstream.types import Array, Float32, Image

BT709 = 1
_UNSPECIFIED, _SMPTE170M, _BT2020, _LIMITED = 2, 6, 9, 1
_PQ, _HLG = 16, 18
_HD_HEIGHT = 720
"""Films of this height and more are BT.709 where they do not say, as players take them."""
_WIDE: Final = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ]
)
"""Linear RGB of BT.2020 to BT.709 (ITU-R BT.2407, annex 2)."""
_WHITE_NITS = 203.0
"""Diffuse white of HDR (ITU-R BT.2408): it becomes white."""
_KNEE = 0.8
"""Above this share of white, light is rolled off towards white."""
_DISPLAY_GAMMA = 2.4
"""Of displays of BT.709 and BT.2020 (ITU-R BT.1886): HDR tells the light of a display, and cameras'
curve, which is not its inverse, would turn a grey of 30 to 7."""
_ROWS = 64
"""Rows of a picture converted at once."""
BACKGROUND = 200
"""Grey laid under the transparent parts of a picture."""
_SEEN = 2
"""Levels by which a profile may differ from sRGB and is not worth a conversion."""
_STEPS = 4096
_BRIGHTEST = 16.0
"""Light that is told apart, whites: above it all is white."""


@dataclass(frozen=True, slots=True)
class Colours:
    """How a film's numbers stand for colours."""

    matrix: int = _SMPTE170M
    primaries: int = BT709
    transfer: int = BT709

    @property
    def is_bt709(self) -> bool:
        """Whether luma and colour differences are BT.709's; else they are BT.601's."""
        return self.matrix == BT709


def matrix_of(height: int) -> int:
    """Return the matrix that players take pictures of this height for where they do not look."""
    return BT709 if height >= _HD_HEIGHT else _SMPTE170M


def colours_of(frame: VideoFrame) -> Colours:
    """Return how pictures that ``bgr_of`` made of such frames are tagged in a film of their size.

    Primaries and transfer are the source's, for BGR passes unchanged; HDR and wide colours have
    been brought to BT.709.
    """
    matrix = matrix_of(frame.height)
    if _is_wide(frame):
        return Colours(matrix, BT709, BT709)
    usual = BT709 if frame.format.is_rgb else matrix
    known = (int(frame.color_primaries), int(frame.color_trc))
    primaries, transfer = (usual if one == _UNSPECIFIED else one for one in known)
    return Colours(matrix, primaries, transfer)


def bgr_of(frame: VideoFrame) -> Image:
    """Return (H, W, 3) uint8 BGR, its own array; HDR and BT.2020 as BT.709 shows them."""
    if int(frame.colorspace) == _UNSPECIFIED and frame.height >= _HD_HEIGHT:
        frame.colorspace = BT709
    if frame.format.name.startswith("grayf"):  # FFmpeg's way to colours is 20 levels off
        frame = frame.reformat(format="gray")
    if not _is_wide(frame):
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    deep = np.asarray(frame.to_ndarray(format="rgb48le"), np.uint16)
    light = np.take(_light(int(frame.color_trc)), deep >> 4)
    narrow = cv2.transform(light, _WIDE.astype(np.float32)[::-1])  # BGR from here on
    steps = np.sqrt(np.clip(narrow, 0, _BRIGHTEST) / np.float32(_BRIGHTEST)) * (_STEPS - 1)
    return np.asarray(np.take(_shown(), steps.astype(np.uint16)), np.uint8)


def flattened(frame: VideoFrame) -> Image:
    """Return (H, W, 3) uint8 BGR, its own array, transparent parts on grey.

    Raises FFmpegError or ValueError for what cannot be converted.
    """
    has_palette = frame.format.has_palette
    has_alpha = has_palette or any(one.is_alpha for one in frame.format.components)
    if not has_alpha and not frame.format.is_rgb:
        return bgr_of(frame)
    is_rgba = frame.format.name == "rgba"  # taken as it is: a copy is 256 MB of 64 megapixels
    packed = frame.reformat(format="bgr24" if not has_alpha else "rgba" if is_rgba else "bgra")
    del frame  # a large one takes a few hundred megabytes
    depth = 4 if has_alpha else 3
    memory: memoryview[int] = memoryview(packed.planes[0])
    lines: Image = np.frombuffer(memory, np.uint8).reshape(packed.height, -1)
    layers = lines[:, : packed.width * depth].reshape(packed.height, packed.width, depth)
    return on_background(layers, is_rgba=is_rgba) if has_alpha else np.ascontiguousarray(layers)


def on_background(layers: Image, *, is_rgba: bool = False) -> Image:
    """Lay (h, w, 4) uint8 RGBA or BGRA on grey, and return (h, w, 3) BGR.

    Some rows at a time: 16 bits of all would be too much.
    """
    mixed = np.empty((*layers.shape[:2], 3), np.uint8)
    for top in range(0, len(layers), _ROWS):
        rows = layers[top : top + _ROWS]
        alpha = rows[..., 3:].astype(np.uint16)
        colours = rows[..., 2::-1] if is_rgba else rows[..., :3]
        mixed[top : top + _ROWS] = (colours * alpha + BACKGROUND * (255 - alpha) + 127) // 255
    return mixed


def bgr_of_numbers(numbers: NDArray[Any]) -> Image:
    """Return (H, W, 3) uint8 BGR of grey (H, W), BGR or BGRA of 8, 16 or 32 bits, or floats to 1.

    Raises ValueError for another form.
    """
    grey = numbers if numbers.ndim == 2 else numbers[..., 0]
    depth = 1 if numbers.ndim == 2 else numbers.shape[2]
    if depth not in (1, 3, 4) or numbers.dtype.kind not in "uf":
        raise ValueError(f"{depth} channels of {numbers.dtype}")
    white = 1.0 if numbers.dtype.kind == "f" else float(np.iinfo(numbers.dtype).max)
    image = np.empty((*grey.shape, depth), np.uint8)
    for top in range(0, len(image), _ROWS):
        rows = numbers[top : top + _ROWS].reshape(-1, grey.shape[1], depth) * (255.0 / white)
        image[top : top + _ROWS] = np.clip(np.rint(np.nan_to_num(rows)), 0, 255)
    return on_background(image) if depth == 4 else np.repeat(image, 3 // depth, 2)


def mean_of_floats(frame: VideoFrame) -> float:
    """Return the mean of all numbers of a frame of planes of floats."""
    kind = frame.format.name
    form = (">" if kind.endswith("be") else "<") + ("f2" if "f16" in kind else "f4")
    means = []
    for plane in frame.planes:
        memory: memoryview[int] = memoryview(plane)
        lines = np.frombuffer(memory, form).reshape(frame.height, -1)[:, : frame.width]
        means.append(float(np.nanmean(lines, dtype=np.float64)))
    return float(np.mean(means))


def encoded_light(frame: VideoFrame) -> Image:
    """Return (H, W, 3) uint8 BGR in sRGB of a frame of linear light, 1 white (IEC 61966-2-1).

    What is brighter is white. Colours with an alpha channel are multiplied by it, as OpenEXR's are.
    """
    light = np.asarray(frame.to_ndarray(format="gbrapf32le"), np.float32)
    image = np.empty((*light.shape[:2], 3), np.uint8)
    for top in range(0, len(light), _ROWS):
        rows = light[top : top + _ROWS]
        alpha = np.clip(rows[..., 3:], 0, 1)
        colour = np.clip(rows[..., 2::-1] / np.maximum(alpha, 1e-6), 0, 1)
        shown = np.where(
            colour <= 0.0031308, 12.92 * colour, 1.055 * np.power(colour, 1 / 2.4) - 0.055
        )
        image[top : top + _ROWS] = np.rint(255 * shown * alpha + BACKGROUND * (1 - alpha))
    return image


def srgb_of(image: Image, icc: bytes) -> Image:
    """Return (H, W, 3) uint8 BGR in sRGB of a picture with this ICC profile.

    The same array where the profile is sRGB's, or is damaged or of no light (that of a printer): it
    is taken for sRGB then.
    """
    transform = _to_srgb(icc) if icc else None
    if transform is None:
        return image
    grid = np.linspace(0, 255, 6).astype(np.uint8)
    probe = np.stack(np.meshgrid(grid, grid, grid), -1).reshape(36, 6, 3)
    if np.abs(_transformed(probe, transform).astype(int) - probe).max() <= _SEEN:
        return image
    converted = np.empty_like(image)
    for top in range(0, len(image), _ROWS):
        converted[top : top + _ROWS] = _transformed(image[top : top + _ROWS], transform)
    return converted


def _to_srgb(icc: bytes) -> ImageCms.ImageCmsTransform | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _transformed(image: Image, transform: ImageCms.ImageCmsTransform) -> Image:
    rgb = PIL.Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    return np.asarray(transform.apply(rgb), np.uint8)[..., ::-1]


def yuv_of(image: Image, *, bt709: bool) -> Image:
    """Return (3 H / 2, W) uint8 planes of 4:2:0, limited range, of (H, W, 3) BGR, even sides.

    Colours are means of four pixels. FFmpeg's own conversion is quick but loses up to 4 of 255 in
    them; OpenCV's takes one pixel of the four, which turns the hue of a dithered picture.
    """
    height, width = image.shape[:2]
    full = cv2.transform(image, _bgr_to_yuv(0.2126, 0.0722) if bt709 else _bgr_to_yuv(0.299, 0.114))
    half = cv2.resize(full, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = full[..., 0]
    planes[height:] = np.stack([half[..., 1], half[..., 2]]).reshape(-1, width)
    return planes


def _is_wide(frame: VideoFrame) -> bool:
    return int(frame.color_trc) in (_PQ, _HLG) or int(frame.color_primaries) == _BT2020


@cache
def _bgr_to_yuv(red: float, blue: float) -> Float32:
    """Return (3, 4): blue, green and red to Y, U and V of limited range.

    Shares of luma are those of ITU-R BT.709, or of BT.601.
    """
    green = 1 - red - blue
    luma = np.array([blue, green, red]) * 219 / 255
    scale = 224 / 255
    u = (np.array([1.0, 0, 0]) - [blue, green, red]) / (2 * (1 - blue)) * scale
    v = (np.array([0, 0, 1.0]) - [blue, green, red]) / (2 * (1 - red)) * scale
    rows = np.stack([luma, u, v])
    return np.concatenate([rows, [[16.0], [128.0], [128.0]]], 1).astype(np.float32)


@cache
def _light(transfer: int) -> Float32:
    """Return light in whites for 12-bit numbers of a transfer function (ITU-R BT.2100, BT.1886)."""
    signal = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == _PQ:
        power = np.power(signal, 1 / 78.84375)
        base = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return (np.power(base, 1 / 0.1593017578125) * 10_000 / _WHITE_NITS).astype(np.float32)
    if transfer == _HLG:
        low = signal * signal / 3
        high = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        scene = np.where(signal <= 0.5, low, high)
        return (np.power(scene, 1.2) * 1000 / _WHITE_NITS).astype(np.float32)
    return np.power(signal, _DISPLAY_GAMMA).astype(np.float32)


@cache
def _shown() -> Array:
    """Return uint8 numbers that show the roots of light: above the knee it is rolled off."""
    light = np.square(np.arange(_STEPS) / (_STEPS - 1)) * _BRIGHTEST
    above = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    rolled = np.where(light <= _KNEE, light, _KNEE + (1 - _KNEE) * above / (1 + above))
    signal = np.power(rolled, 1 / _DISPLAY_GAMMA)
    return np.round(np.clip(signal, 0, 1) * 255).astype(np.uint8)
