"""Mouth graphs as plans of our kernels: Wav2Lip's whole, others refused with a reason."""

import contextlib
import tomllib
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import lipstream_export.precisions
from lipstream import MouthModel
from lipstream.backends import open_backend
from lipstream.files import sha256_of
from lipstream.kernels import kernels_run_here
from lipstream.kernels.plan import load_plan, save_plan
from lipstream.manifest import embedded_folder
from lipstream_export.model_folder import MOUTH, PLAN, Wishes, export_mouth
from lipstream_export.networks import LoadedMouth
from lipstream_export.parity import judge_pictures
from lipstream_export.planning import make_plan
from lipstream_export.precisions import paint_truth, plan_mouth, psnr_db
from lipstream_export.samples import Samples
from lipstream_export.tracing import NotPlannable, find_reaches
from lipstream_models.networks.split import SplitNetwork, to_pixels
from lipstream_models.networks.wav2lip import Wav2Lip
from lipstream_models.networks.wav2lip_layout import Layout, Level

NARROW = Layout(
    face_size=96,
    down=(Level(16, 0, 7), *(Level(16, 1) for _ in range(2)), *(Level(32, 1) for _ in range(3))),
    closing=(Level(32),),
    up=(Level(32, 0, 1), Level(32, 1), Level(32, 1), Level(48, 2), *[Level(32, 1)] * 3),
    audio=(16, 16, 32, 32, 48),
    painted=16,
)
WANTED_DB = 36.0
"""As for every int8 graph: its rounding, on pictures of full contrast."""
needs_kernels = pytest.mark.skipif(
    not kernels_run_here(), reason="the int8 kernels need Linux, AVX-512 VNNI and to be built"
)


def noise(network, count, seed=0):
    rng = np.random.default_rng(seed)
    size = network.face_size
    shape = (count, 1, 80, network.mel_columns)
    crops = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Samples(crops, rng.uniform(-4, 4, shape).astype(np.float32), "noise")


def seeded(network):
    """Give a Wav2Lip norms that do something, and pictures of full contrast."""
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0.0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.2, 0.5)
    heard = network._heard[1:-1]
    with torch.no_grad():  # by chance alone the face would drown the sound
        for channels, (up, *_) in zip(heard, network.face_decoder_blocks[1:], strict=True):
            up.conv_block[0].weight[:channels].mul_(4)
        network.output_block[0].conv_block[0].weight[:, : network._heard[-1]].mul_(4)
    last, sums = network.output_block[1], []
    hook = last.register_forward_hook(lambda *given: sums.append(given[2]))
    paint_truth(network.eval(), noise(network, 2))
    hook.remove()
    spread, middle = torch.std_mean(sums[0], (0, 2, 3))
    with torch.no_grad():
        last.bias.copy_((last.bias - middle) / spread)
        last.weight.div_(spread.view(-1, 1, 1, 1))
    return network


def loaded(network):
    return LoadedMouth(network, "some", "1", "CC0-1.0", "seeded")


def files_of(folder):
    return tomllib.loads((folder / "model.toml").read_text())["files"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A Wav2Lip of few channels, its graph and its plan: all that is published but the size."""
    torch.manual_seed(3)
    network, folder = seeded(Wav2Lip(NARROW)), tmp_path_factory.mktemp("narrow") / "m"
    export_mouth(loaded(network), folder)
    save_plan(folder / PLAN, plan_mouth(folder / MOUTH, network, noise(network, 6)).plan)
    return network, folder


def test_its_steps_are_those_of_the_network(narrow):
    network, folder = narrow
    plan = load_plan(folder / PLAN)
    kinds = Counter(step.kind for step in plan.steps)
    loads = {step.input for step in plan.steps if step.kind == "load"}
    assert loads == set(network.feature_names)
    assert plan.inputs.keys() == {"mel", *network.feature_names}
    assert (kinds["hear"], kinds["paint"], plan.steps[-1].kind) == (1, 1, "paint")
    assert plan.output == (48, 96, 3)
    # one pixel becomes nine in nine steps; five blocks double their pictures, in four steps each
    alone = [s for s in plan.steps if s.kind == "gather" and (s.height, s.width) == (1, 1)]
    assert len(alone) == 3 + 9
    assert sum(step.target.spread == 2 for step in plan.steps) == 5 * 4
    # every 3 x 3 convolution of 32 channels and more on more than a few pixels
    winograd = [step for step in plan.steps if step.kind == "winograd"]
    assert len(winograd) == 9
    assert min(step.depth for step in winograd) == 32
    assert max(step.height * step.width for step in winograd) == 49 * 96
    # below the middle of the face rows are dropped, of what is added too
    assert sum(step.add_row == 1 for step in winograd) == 6


@needs_kernels
def test_it_paints_what_the_fp32_graph_paints(narrow):
    network, folder = narrow
    truth = paint_truth(network, noise(network, 5, seed=1))
    assert min(mouth.std() for mouth in truth.mouths) > 40
    found, _ = psnr_db(folder / PLAN, truth, "native", "int8")
    assert found >= WANTED_DB
    with contextlib.closing(open_backend(folder / MOUTH, "cpu", 1)) as usual:
        wanted = usual.run(truth.feeds[0])["mouth"].astype(float)
    with contextlib.closing(open_backend(folder / PLAN, "native", 1, "int8")) as own:
        painted = own.run(truth.feeds[0])["mouth"]
        assert 10 * np.log10(255**2 / np.square(painted - wanted).mean()) >= WANTED_DB
        # it hears: other sound on the same faces moves the picture far more than that
        other = truth.feeds[0] | {"mel": truth.feeds[0]["mel"][::-1].copy()}
        before = painted.astype(float)
        assert np.square(own.run(other)["mouth"] - before).mean() > 100


class Small(SplitNetwork):
    """The least network with a mouth: what a test needs otherwise it is given."""

    face_size, mel_columns, window_start_ms = 16, 16, -40
    mouth_rows = (8, 16)
    feature_names = ("f",)

    def __init__(self, *, inner=None, last=None, end=torch.sigmoid, face=torch.relu, width=16):
        super().__init__()
        self.face = nn.Conv2d(3, width, 3, padding=1)
        self.hear = nn.Conv2d(1, 16, 3, (10, 1), 1)
        self.inner = inner or nn.Conv2d(16, 16, 1)
        self.last = last or nn.Conv2d(16 + width, 32, 3, padding=1)
        self.paint = nn.Conv2d(32, 3, 1)
        self.end, self.shown = end, face

    def face_features(self, face):
        levels = face.float().permute(0, 3, 1, 2) / 255 - 0.5
        return (self.shown(self.face(levels))[:, :, 8:],)

    def mouth_from(self, mel, *features):
        x = torch.relu(self.hear(mel))
        x = torch.relu(self.inner(x) + x)
        x = torch.relu(self.last(torch.cat([x, *features], 1)))
        return to_pixels(self.end(self.paint(x)))


def small(parts=dict):
    torch.manual_seed(7)
    network = Small(**parts()).eval()
    with torch.no_grad():
        network.paint.weight.mul_(8)
    return network


def reason(network, folder):
    """Return why there is no plan."""
    export_mouth(loaded(network), folder / "m")
    model = onnx.load(folder / "m" / MOUTH)
    reaches = find_reaches(model, paint_truth(network, noise(network, 3)).feeds)
    with pytest.raises(NotPlannable) as caught:
        make_plan(model, reaches)
    return str(caught.value)


def planned_db(network, folder):
    export_mouth(loaded(network), folder / "m")
    model = onnx.load(folder / "m" / MOUTH)
    plan = make_plan(model, find_reaches(model, paint_truth(network, noise(network, 6)).feeds))
    save_plan(folder / "m.plan", plan)
    truth = paint_truth(network, noise(network, 6, seed=1))
    assert truth.mouths[0].std() > 20
    return psnr_db(folder / "m.plan", truth, "native", "int8")[0]


@needs_kernels
@pytest.mark.parametrize(
    "parts",
    [
        dict,
        lambda: {"face": nn.Identity()},  # negative, and read by a Winograd step alone
        lambda: {"inner": nn.Conv2d(16, 16, 3, padding=1, bias=False)},
        lambda: {
            "inner": nn.Sequential(
                nn.Conv2d(16, 48, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(48, 16, 3, 2, 1, 1)
            )
        },
        lambda: {"last": nn.Conv2d(32, 32, 3, padding=(1, 1), bias=False)},
    ],
    ids=["plain", "signed", "unbiased", "there_and_back", "unbiased_last"],
)
def test_small_networks_are_planned_too(parts, tmp_path):
    assert planned_db(small(parts), tmp_path) >= WANTED_DB


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
        "the kernels do not reach all of it: step 4 (gather): taps",
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
    model = onnx.load(embedded_folder() / "mouth" / MOUTH)
    shapes = {
        port.name: [axis.dim_value or 1 for axis in port.type.tensor_type.shape.dim]
        for port in model.graph.input
    }
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(NotPlannable, match="another axis than channels"):
        make_plan(model, find_reaches(model, [feeds]))


def test_a_network_without_a_plan_is_exported_all_the_same(tmp_path, caplog):
    network = small(lambda: {"inner": nn.Conv2d(16, 16, 1, groups=2)})
    wishes = Wishes(precisions=("int8",), samples=noise(network, 3))
    with caplog.at_level("INFO", "lipstream_export.model_folder"):
        export_mouth(loaded(network), tmp_path / "m", wishes)
    assert "no plan for the int8 kernels: a convolution has groups" in caplog.text
    assert not (tmp_path / "m" / PLAN).exists()
    assert files_of(tmp_path / "m").keys() == {"face", "mouth", "mouth_int8"}
    with MouthModel.open(tmp_path / "m", threads=1, precision="int8") as model:
        assert model.backend == "openvino"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small network and its model folder, int8 besides."""
    network, folder = small(), tmp_path_factory.mktemp("small") / "m"
    wishes = Wishes(precisions=("int8",), samples=noise(network, 6))
    export_mouth(loaded(network), folder, wishes)
    return network, folder, wishes


def test_a_folder_holds_its_plan_with_its_checksum(exported):
    _, folder, _ = exported
    entry = files_of(folder)["mouth_int8_plan"]
    assert entry["path"] == PLAN
    assert entry["sha256"] == sha256_of(folder / PLAN)
    if kernels_run_here():
        assert entry["psnr_db"] >= WANTED_DB
        assert entry["measured_on"] == "noise"


@needs_kernels
def test_the_engine_takes_it_for_int8(exported):
    network, folder, _ = exported
    samples = noise(network, 2, seed=2)
    truth = paint_truth(network, samples)
    with MouthModel.open(folder, threads=1, precision="int8") as model:
        assert model.backend == "native"
        error = (
            model.mouth(samples.mels, model.face_features(samples.crops)) - truth.mouths[0] * 1.0
        )
    assert np.square(error).mean() < 255**2 * 10 ** (-WANTED_DB / 10)


@needs_kernels
def test_the_report_judges_a_plan_beside_the_graphs(exported):
    network, folder, wishes = exported
    rows = [row for row in judge_pictures(network, folder, wishes) if row.holds]
    (own,) = (row for row in rows if row.backend == "native")
    assert own.graph == "int8"
    assert own.psnr_db == pytest.approx(files_of(folder)["mouth_int8_plan"]["psnr_db"], abs=0.06)


@needs_kernels
def test_a_plan_that_paints_too_far_off_is_not_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(lipstream_export.precisions.WANTED_DB, "int8", 90.0)
    network = small()
    wishes = Wishes(precisions=("int8",), samples=noise(network, 3))
    export_mouth(loaded(network), tmp_path / "m", wishes)
    assert "no plan is written" in caplog.text
    assert "mouth_int8_plan" not in files_of(tmp_path / "m")


@pytest.mark.slow
def test_wav2lip_at_its_full_size_is_planned(tmp_path):
    torch.manual_seed(5)
    network = seeded(Wav2Lip())
    samples = noise(network, 6)
    wishes = Wishes(precisions=("int8",), samples=samples)
    export_mouth(loaded(network), tmp_path / "m", wishes)
    entry = files_of(tmp_path / "m")["mouth_int8_plan"]
    assert entry["sha256"] == sha256_of(tmp_path / "m" / PLAN)
    if not kernels_run_here():
        pytest.skip("the int8 kernels need Linux, AVX-512 VNNI and to be built")
    assert entry["psnr_db"] >= WANTED_DB
    truth = paint_truth(network, noise(network, 4, seed=1))
    assert truth.mouths[0].std() > 40
    assert psnr_db(tmp_path / "m" / entry["path"], truth, "native", "int8")[0] >= WANTED_DB
