"""Mouth graphs our kernels have no steps for: each is refused with its reason."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.small_mouths import Small, files_of, loaded, noise, small
from lipstream import MouthModel
from lipstream.inference.manifest import embedded_folder
from lipstream_export.kernel_plans import make_plan
from lipstream_export.model_folder import MOUTH, PLAN, ExportOptions, export_mouth
from lipstream_export.onnx_graphs import NotPlannable, find_reaches
from lipstream_export.precisions import reference_pictures
from lipstream_models.networks.wav2lip import to_pixels


def reason(network, folder):
    """Return why there is no plan."""
    export_mouth(loaded(network), folder / "m")
    model = onnx.load(folder / "m" / MOUTH)
    reaches = find_reaches(model, reference_pictures(network, noise(network, 3)).feeds)
    with pytest.raises(NotPlannable) as caught:
        make_plan(model, reaches)
    return str(caught.value)


REFUSED = [
    ("a convolution has groups or dilations", lambda: {"inner": nn.Conv2d(16, 16, 1, groups=2)}),
    (
        "a convolution has groups or dilations",
        lambda: {"inner": nn.Conv2d(16, 16, 3, padding=2, dilation=2)},
    ),
    ("does not give a sigmoid's picture", lambda: {"end": torch.tanh}),
    ("does not give a sigmoid's picture", lambda: {"end": lambda x: torch.sigmoid(x) ** 2}),
    (
        "reads an input that can be negative",
        lambda: {"face": nn.Identity(), "last": nn.Conv2d(32, 32, 1)},
    ),
    (
        "LeakyRelu follows a convolution",
        lambda: {"inner": nn.Sequential(nn.Conv2d(16, 16, 1), nn.LeakyReLU())},
    ),
    (
        "which no convolution gives",
        lambda: {
            "inner": nn.Sequential(
                nn.Conv2d(16, 16, 1), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(16, 16, 1)
            )
        },
    ),
    (
        "a convolution gives 20 channels",
        lambda: {"inner": nn.Sequential(nn.Conv2d(16, 20, 1), nn.ReLU(), nn.Conv2d(20, 16, 1))},
    ),
    ("its input f has 12 channels", lambda: {"width": 12}),
    (
        "a transposed convolution spreads unevenly",
        lambda: {
            "inner": nn.Sequential(
                nn.Conv2d(16, 16, 3, (2, 1), 1),
                nn.ReLU(),
                nn.ConvTranspose2d(16, 16, 3, (2, 1), 1, (1, 0)),
            )
        },
    ),
    (
        "the kernels do not reach all of it: step 4 (igemm): taps",
        lambda: {"inner": nn.Conv2d(16, 16, 5, padding=2)},
    ),
    (
        "a transposed convolution leaves pixels out",
        lambda: {
            "inner": nn.Sequential(
                nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 16, 1, 2, 0, 1)
            )
        },
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("said", "parts"), REFUSED, ids=range(len(REFUSED)))
def test_what_the_kernels_have_no_steps_for_is_refused_with_a_reason(said, parts, tmp_path):
    assert said in reason(small(parts), tmp_path)


class Upper(Small):
    """Adds the upper rows of what was twice as high."""

    def mouth_from(self, mel, *features):
        x = torch.relu(self.hear(mel))
        whole = torch.cat([x, *features], 1)
        x = torch.relu(nn.functional.conv2d(whole, self.last.weight, padding=(0, 1)))
        x = torch.relu(self.inner(x) + whole[:, :, :6])
        return to_pixels(torch.sigmoid(self.paint(x)))


def test_rows_that_are_dropped_below_are_refused(tmp_path):
    torch.manual_seed(1)
    network = Upper(inner=nn.Conv2d(32, 32, 1)).eval()
    assert "other than the lower rows" in reason(network, tmp_path)


class Twice(Small):
    """Joins its feature to two things: it cannot lie beside both."""

    def mouth_from(self, mel, *features):
        x = torch.cat([torch.relu(self.hear(mel)), *features], 1)
        x = torch.cat([torch.relu(self.last(x)), *features], 1)
        return to_pixels(torch.sigmoid(self.paint(torch.relu(self.inner(x)))))


class Pooled(Small):
    """Joins what no ReLU gives."""

    def mouth_from(self, mel, *features):
        pooled = [nn.functional.avg_pool2d(one, 3, 1, 1) for one in features]
        x = torch.cat([torch.relu(self.hear(mel)), *pooled], 1)
        return to_pixels(torch.sigmoid(self.paint(torch.relu(self.last(x)))))


def test_what_is_joined_must_be_known_by_its_reach(tmp_path):
    network = Pooled(inner=nn.Identity()).eval()
    assert "is neither an input nor what a ReLU gives" in reason(network, tmp_path)


class Percent(Small):
    """Paints a picture of a hundred levels."""

    def mouth_from(self, mel, *features):
        x = torch.cat([torch.relu(self.hear(mel)), *features], 1)
        shown = torch.sigmoid(self.paint(torch.relu(self.last(x))))
        return (shown * 100).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def test_a_picture_of_other_levels_is_refused(tmp_path):
    network = Percent(inner=nn.Identity()).eval()
    assert "does not give a sigmoid's picture" in reason(network, tmp_path)


def test_what_is_joined_twice_is_refused(tmp_path):
    network = Twice(inner=nn.Conv2d(48, 32, 3, padding=1)).eval()
    assert "f is joined twice" in reason(network, tmp_path)


def test_the_projects_own_network_is_refused():
    model = onnx.load(embedded_folder() / "mouth" / "lips.onnx")
    shapes = {
        port.name: [axis.dim_value or 1 for axis in port.type.tensor_type.shape.dim]
        for port in model.graph.input
    }
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(NotPlannable):
        make_plan(model, find_reaches(model, [feeds]))


def test_a_network_without_a_plan_is_exported_all_the_same(tmp_path, caplog):
    network = small(lambda: {"inner": nn.Conv2d(16, 16, 1, groups=2)})
    options = ExportOptions(precisions=("int8",), samples=noise(network, 3))
    with caplog.at_level("INFO", "lipstream_export.model_folder"):
        export_mouth(loaded(network), tmp_path / "m", options)
    assert "no plan for the int8 kernels: a convolution has groups" in caplog.text
    assert not (tmp_path / "m" / PLAN).exists()
    assert files_of(tmp_path / "m").keys() == {"face", "mouth", "mouth_int8"}
    with MouthModel.open(tmp_path / "m", threads=1, precision="int8") as model:
        assert model.backend == "openvino"
