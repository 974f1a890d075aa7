"""Teach how pictures moved: dense optical flow between two whole pictures."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lipstream_models.networks.alignment import GRID
from lipstream_models.networks.optical_flow import grey


def coarse_motion(target: Tensor, source: Tensor) -> Tensor:
    """Say where the pixels of ``target`` are in ``source``: (N, 2, 12, 12), pixels away.

    Both are (N, 3, S, S) in 0..1, whole pictures. Dense inverse search (Kroeger et al., "Fast
    Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV has it), averaged over cells.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    pictures = [(grey(part)[:, 0] * 255).round().byte().numpy() for part in (target, source)]
    flows = [search.calc(a, b, None) for a, b in zip(*pictures, strict=True)]  # type: ignore[call-overload]
    flow = torch.from_numpy(np.stack(flows).astype(np.float32)).permute(0, 3, 1, 2)
    return functional.avg_pool2d(flow, target.shape[2] // GRID)
