"""The ONNX file gives what torch gives, tells what it is, and is not there where it differs."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import export_onnx
from cascade_net import CascadeNet
from deeppose.calibration import Calibration
from deeppose.checkpoints import save_checkpoint
from deeppose.errors import Failure, UserError
from deeppose.persons import LooseCrops
from deeppose.pixels import RGB, Pixels
from deeppose.skeletons import LSP, Skeleton
from deeppose.stored_crops import cut, enlarge, image_boxes, to_image_px
from networks import trained_stages
from networks.integral import IntegralNet
from networks.one_graph import OneGraph
from networks.stage1 import new_network
from networks.trained_stages import CascadeStage, Stage1, load_stages, run_with_confidence

GREY, DEPTH = Pixels(1, 8, (100.0,), (50.0,)), Pixels(1, 16, (2000.0,), (900.0,))
HORSE = Skeleton(("nose", "r_hoof", "l_hoof", "tail"), pairs=(("r_hoof", "l_hoof"),))
GUIDE = Path(__file__).resolve().parents[1] / "docs/onnx.md"


def stage1(kind, pixels, skeleton, size=64, **options):
    torch.manual_seed(1)
    network = new_network(kind, len(skeleton.joints), size, {"image_channels": pixels.channels, **options})
    # so that joints lie about the window and maps have one peak, as of a trained network
    (network.head[-1] if kind == "regression" else network.heatmaps[0] if kind == "integral" else network.heatmaps
     ).weight.data *= 0.05 if kind == "regression" else 50
    network.train()(torch.randn(4, pixels.channels, size, size))  # BatchNorm that is not the identity
    return Stage1(network.eval(), size, False, False, "of stage 1", skeleton, pixels, 112, 1.5)


def random_crops(pixels, count=3, size=112):
    shape = (count, size, size, pixels.channels)
    crops = np.random.default_rng(0).normal(pixels.mean, pixels.deviation, shape).clip(0, 2 ** pixels.bits - 1)
    return torch.from_numpy(crops.astype(pixels.dtype))


def as_torch_has_it(stages, crops, flip_test):
    seen = crops.view(torch.int16) if crops.dtype == torch.uint16 else crops
    first = stages[0]
    poses, confidences = run_with_confidence(stages, LooseCrops(seen, first.context, first.pixels, first.skeleton),
                                             torch.arange(len(crops)), flip_test)
    return poses[-1], confidences[-1]


def apart(found, expected):
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind, pixels, skeleton, options", [
    ("regression", DEPTH, HORSE, {"backbone": "resnet18"}),
    ("regression", RGB, LSP, {"backbone": "resnet18", "loss": "rle"}),
    ("heatmap", GREY, HORSE, {"backbone": "resnet18", "channels": 16}),
    ("integral", RGB, LSP, {"backbone": "efficientnet_lite0"})])
@torch.no_grad()
def test_the_graph_computes_what_the_stages_do(kind, pixels, skeleton, options):
    first = stage1(kind, pixels, skeleton, **options)
    first.network.global_contrast = kind == "heatmap"
    network = CascadeNet(67, 0.05, outputs=1, image_channels=pixels.channels)
    torch.nn.init.normal_(network.regressor[-1].weight, std=0.01)
    later = CascadeStage({2: (network, 0)}, 1.0, 0.2, 1.3, True, "of stage 1", "of stage 2", pixels)
    crops = random_crops(pixels)
    for stages in ([first], [first, later]):
        for flip_test in (False, True):
            expected = as_torch_has_it(stages, crops, flip_test)
            found = OneGraph(stages, flip_test)(crops)
            assert len(found) == (1 if kind == "regression" and "loss" not in options else 2)
            assert apart(found, expected[:len(found)]) < 1e-3


class Small(IntegralNet):
    """Heatmaps of a single convolution: what is exported in a moment."""

    def __init__(self, joints=14):
        torch.nn.Module.__init__(self)
        self.arguments, self.global_contrast = {"joints": joints}, False
        self.heatmaps = torch.nn.Conv2d(3, joints, 9, stride=4, padding=4)
        self.heatmaps.weight.data *= 5

    def forward(self, images):
        return self.heatmaps(images)

    def train(self, mode=True):
        return torch.nn.Module.train(self, mode)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with two trained stages, calibrated, and their file."""
    for name in export_onnx.EXTRAS:
        pytest.importorskip(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(trained_stages.NETWORKS, "small", Small)
        folder = tmp_path_factory.mktemp("onnx")
        torch.manual_seed(0)
        first = Small()
        shared = {"dataset": "lsp", "settings": {}, "history": [], "skeleton": LSP.plain(), "pixels": RGB.plain()}
        checkpoint = shared | {"kind": "small", "network": first.arguments, "weights": first.state_dict(), "split": "",
                               "input_size": 64, "crop_size": 112, "context": 1.5}
        save_checkpoint(folder / "stage1.pt", checkpoint)
        network = CascadeNet(67, 0.02)
        torch.nn.init.normal_(network.regressor[-1].weight, std=0.05)
        later = shared | {"network": network.arguments, "weights": network.state_dict(), "sigma": 1.0,
                          "smallest_diameter": 0.2, "usual_side": 0.5, "flip_test": True,
                          "refines": load_stages(folder, None, torch.device("cpu"))[0].fingerprint}
        for name in ("r_knee", "l_wrist"):
            save_checkpoint(folder / f"stage2_{name}.pt", later | {"joint": name})
        last = load_stages(folder, None, torch.device("cpu"))[1].fingerprint
        calibration = Calibration(last, True, (0.3,) * 14,
                                  {"own": 1.0, "above": 0.5, "mean": 0.1, "least": 0.2, "size": 0.4}, -1.0, ("lsp",), 9)
        save_checkpoint(folder / "stage1.pt", checkpoint | {"calibration": [calibration.plain()]})
        main(folder)
        yield folder


def main(folder, *flags):
    export_onnx.main(["--checkpoint-dir", str(folder), "--data-dir", str(folder), "--out", str(folder / "pose.onnx"),
                      *flags])


def test_one_file_of_any_batch_tells_what_it_is(exported):
    import onnxruntime

    assert {path.name for path in exported.iterdir()} == {"stage1.pt", "stage2_r_knee.pt", "stage2_l_wrist.pt",
                                                           "pose.onnx"}
    session = onnxruntime.InferenceSession(exported / "pose.onnx")
    stages = load_stages(exported, None, torch.device("cpu"))
    crops = random_crops(RGB, 7)
    found = [torch.from_numpy(output) for output in session.run(["joints", "confidence"], {"crops": crops.numpy()})]
    assert apart(found, as_torch_has_it(stages, crops, False)) < 1e-3
    facts = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["joints"] == list(LSP.joints) and facts["skeleton"] == LSP.plain()
    assert (facts["crop_size"], facts["context"], facts["stages"], facts["flip_test"]) == (112, 1.5, 2, True)
    assert facts["fingerprint"] == stages[-1].fingerprint and "probability" in facts["confidence"]
    assert facts["calibration"] == stages[0].calibrations[0].plain() and facts["padding"] == [124, 116, 104]


def test_the_guides_lines_give_the_same_joints_without_torch(exported, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (61, 90, 3), np.uint8)).resize((211, 143)).save(photo)
    text = GUIDE.read_text(encoding="utf-8")
    lines = text[text.index("    import json\n"):]
    code = "\n".join(line.removeprefix("    ") for line in lines.splitlines())
    assert len(code.strip().splitlines()) <= 40
    code = code.replace("runs/pose.onnx", (exported / "pose.onnx").as_posix()) + "\nassert 'torch' not in sys.modules\n"
    told = subprocess.run([sys.executable, "-c", code, str(photo)], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    assert [row[1] for row in rows] == list(LSP.joints)

    with Image.open(photo) as image:
        edges = enlarge(image_boxes(np.array([image.size])), 1.5)
        crop = torch.from_numpy(cut(image, edges[0], 112)[None].copy())
    joints, confidence = as_torch_has_it(load_stages(exported, None, torch.device("cpu")), crop, True)
    expected = np.column_stack([to_image_px(joints.numpy(), edges, 112)[0], confidence.numpy()[0]])
    assert np.abs(np.array([row[2:] for row in rows], float) - expected).max() < 0.06  # told to a tenth of a pixel


def test_no_file_where_it_differs(exported, tmp_path, monkeypatch):
    content = (exported / "pose.onnx").read_bytes()
    monkeypatch.setattr(export_onnx, "in_onnx", lambda *given: content)
    main(exported, "--out", str(tmp_path / "pose.onnx"))
    assert (tmp_path / "pose.onnx").read_bytes() == content
    monkeypatch.setattr(export_onnx, "TOLERANCE", 1e-9)
    with pytest.raises(Failure, match="differ by .* in a batch of"):
        main(exported, "--out", str(tmp_path / "other.onnx"))
    assert [path.name for path in tmp_path.iterdir()] == ["pose.onnx"]


def test_a_file_of_another_programs_stays_and_one_of_other_weights_is_told(exported, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pose.onnx"
    monkeypatch.setattr(export_onnx, "in_onnx", lambda *given: (exported / "pose.onnx").read_bytes())
    for content in (b"", b"a photograph"):
        out.write_bytes(content)
        with pytest.raises(UserError, match="was not written by export_onnx.py; name another --out"):
            main(exported, "--out", str(out))
        assert out.read_bytes() == content
    out.unlink()
    main(exported, "--out", str(out))
    main(exported, "--out", str(out))
    assert "other weights" not in capsys.readouterr().out
    monkeypatch.setattr(export_onnx, "weights_of", lambda path: "those of before")
    main(exported, "--out", str(out))
    assert "it replaces one of other weights" in capsys.readouterr().out


def test_drawn_figures_to_compare_on_are_of_the_pixels_that_the_stages_know(tmp_path):
    first = SimpleNamespace(crop_size=64, context=1.5, pixels=DEPTH)
    crops = export_onnx.real_crops(tmp_path, first).numpy().astype(float)
    inside = crops[np.abs(crops - DEPTH.padding[0]) > 1]
    assert crops.shape == (5, 64, 64, 1) and inside.std() > 0.2 * DEPTH.deviation[0]
    assert (np.abs(inside - DEPTH.mean[0]) < 2.5 * DEPTH.deviation[0]).all()  # resampling goes a little beyond


def test_what_can_not_be_exported_is_said(exported, tmp_path, monkeypatch):
    arrays = np.zeros((5, 64, 64, 3), np.uint8)
    np.save(tmp_path / "test_images.npy", arrays)
    with pytest.raises(UserError, match="name another --data-dir"):
        main(exported, "--data-dir", str(tmp_path))
    with pytest.raises(UserError, match="no trained stage 3"):
        main(exported, "--stages", "3")
    with pytest.raises(UserError, match="is a folder; --out takes the name of a file"):
        main(exported, "--out", str(tmp_path))
    monkeypatch.setattr(export_onnx, "LARGEST_FILE", 1000)
    with pytest.raises(UserError, match="--stages 1"):
        main(exported)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnx onnxscript onnxruntime"):
        main(exported)
