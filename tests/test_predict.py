"""Poses on anybody's photographs: what is found, read, drawn and written."""
import csv
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageDraw

import lsp_data
import predict
from cascade_net import CascadeNet
from deeppose.archives import Unreadable
from deeppose.checkpoints import save_checkpoint
from deeppose.devices import has_bfloat16
from deeppose.errors import Failure, UserError
from deeppose.inputs import find_inputs
from deeppose.looks import COLOURS
from deeppose.overlays import draw_pose, on_screen, overlap, write_names
from deeppose.person_boxes import read_boxes, squares
from deeppose.persons import load_persons
from deeppose.photos import Photo, read_photo
from deeppose.pixels import RGB, Pixels
from deeppose.predictions import Found, writing
from deeppose.skeletons import LSP, Skeleton
from deeppose.stored_crops import decode, image_boxes, to_image_px
from figures.scene import draw_figure
from networks.efficientnet_lite import SamePadding
from networks.folding import Activated, folded
from networks.integral import IntegralNet
from networks.posing import Posing, parts_of
from networks.stage1 import new_network
from networks.trained_stages import Stage1, load_stages, run_with_confidence
from resnet_stage1 import ResNetRegressor

RELEASED = predict.RELEASED
HAND = Skeleton(("wrist", "thumb", "finger"), limbs={"thumb": (("wrist",), ("thumb",))})
END = "" if os.name == "nt" else "\n"  # of a line; Windows has none in names
PLAIN = ["--passes", "1", "--doubt", "0"]  # one look at the whole image, as the test steps have it


@pytest.fixture(scope="module")
def released():
    return load_stages(RELEASED, None, torch.device("cpu"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of four figures, with their joints (4, 14, 2)."""
    folder, joints = tmp_path_factory.mktemp("photos"), []
    for number in range(4):
        image, points = draw_figure(5, number)
        image.save(folder / f"p{number}.png")
        joints.append(points[:, :2])
    return folder, np.stack(joints)


def save_stage1(folder, network, kind="regression", skeleton=LSP, pixels=RGB, crop_size=48):
    save_checkpoint(folder / "stage1.pt", {
        "kind": kind, "network": network.arguments, "weights": network.state_dict(), "input_size": 32, "dataset": "own",
        "split": "", "settings": {}, "history": [], "skeleton": skeleton.plain(), "pixels": pixels.plain(),
        "crop_size": crop_size, "context": 1.5})


def run(*arguments):
    predict.main([*map(str, arguments), *["--threads", "1"] * ("--threads" not in arguments)])


def told(out):
    """predictions.json, and the rows of predictions.csv."""
    with open(out / "predictions.csv", encoding="utf-8", newline="") as file:
        return json.loads((out / "predictions.json").read_text()), list(csv.DictReader(file))


def test_it_finds_what_the_test_step_finds(raw_dir, tmp_path, released):
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "runs"),
                   "--train-on", "lsp", "--lsp-train-images", "34", "--workers", "1"])
    persons = load_persons(tmp_path, "test", torch.device("cpu"))
    pose = run_with_confidence(released, persons, torch.arange(6), flip_test=True)[0][-1].numpy()
    expected = to_image_px(pose.astype(float), np.load(tmp_path / "test_boxes.npy").astype(float), persons.crop_size)
    files = [raw_dir / "lsp_dataset/images" / name for name in persons.dataset["test"]["image"]]
    run(*files, "--out", tmp_path / "out", "--batch-size", "4", "--threads", "2", *PLAIN)
    content, rows = told(tmp_path / "out")
    found = np.array([image["persons"][0]["joints"] for image in content["images"]])
    assert [image["file"] for image in content["images"]] == list(map(str, files))
    assert np.abs(found - expected).max() < 0.01
    assert np.array([[row["x"], row["y"]] for row in rows], float).reshape(6, 14, 2).tolist() == found.tolist()
    assert [row["joint"] for row in rows[:14]] == content["joints"] == list(LSP.joints)
    box = np.array(content["images"][0]["persons"][0]["box"])
    size = [content["images"][0][side] for side in ("width", "height")]
    assert np.allclose(box, [*image_boxes(np.array([size]))[0][:2], *(box[:2] + max(size))], atol=1e-3)


def test_a_folded_network_is_the_same_but_for_rounding(released):
    network = released[0].network.eval()
    fast = folded(network)
    for count, side in ((2, 64), (17, 32)):
        images = torch.randn(count, 3, side, side)
        with torch.inference_mode():
            expected, found = network(images), fast(images)
        assert 0 < (found - expected).abs().max() < 1e-3 * expected.abs().max()
    kinds = [{type(module) for module in each.modules()} for each in (network, fast)]
    assert torch.nn.BatchNorm2d in kinds[0] and torch.nn.BatchNorm2d not in kinds[1]
    assert Activated in kinds[1] and torch.nn.ReLU6 not in kinds[1]


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6)])
def test_a_convolution_and_its_activation_in_one_pass(size):
    torch.manual_seed(0)
    for kernel, stride, activation in ((3, 2, torch.nn.ReLU6), (5, 2, torch.nn.ReLU), (3, 1, torch.nn.Sigmoid)):
        layers = torch.nn.Sequential(SamePadding(4, 4, kernel, stride, groups=4), torch.nn.BatchNorm2d(4), activation())
        layers[1].running_mean += 1
        layers.eval()
        images = 9 * torch.randn(2, 4, *size)
        with torch.inference_mode():
            assert torch.allclose(layers(images), folded(layers)(images), atol=1e-5)


def test_bfloat16_moves_joints_little(photos, released, tmp_path, capsys, monkeypatch):
    device = torch.device("cpu")
    if not has_bfloat16(device):
        pytest.skip("this processor does not compute in bfloat16")
    for flags in ([], ["--bfloat16"]):
        run(photos[0], "--out", tmp_path / str(len(flags)), "--no-overlays", *PLAIN, *flags)
    full, half = ([image["persons"][0]["joints"] for image in told(tmp_path / name)[0]["images"]] for name in "01")
    away = np.linalg.norm(np.subtract(full, half), axis=2)
    assert 0 < np.median(away) < 0.5 and "no bfloat16" not in capsys.readouterr().out
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    run(photos[0], "--out", tmp_path / "none", "--no-overlays", *PLAIN, "--bfloat16")
    assert "cpu has no bfloat16 of its own" in capsys.readouterr().out
    assert [image["persons"][0]["joints"] for image in told(tmp_path / "none")[0]["images"]] == full


def test_a_pose_does_not_depend_on_who_else_is_looked_at(photos, tmp_path):
    run(photos[0], "--out", tmp_path / "all")
    run(photos[0] / "p2.png", "--out", tmp_path / "one", "--batch-size", "1", "--threads", "1")
    together, alone = told(tmp_path / "all")[0]["images"][2], told(tmp_path / "one")[0]["images"][0]
    assert np.allclose(together["persons"][0]["joints"], alone["persons"][0]["joints"], atol=0.01)


def test_a_figure_far_from_filling_its_picture_is_found(photos, released):
    errors = {}
    placed, boxes = [], [None] * 4
    for number, (image, joints) in enumerate(zip(sorted(photos[0].glob("*.png")), photos[1])):
        figure = Image.open(image)
        scene = Image.effect_noise((3 * max(figure.size),) * 2, 20).convert("RGB")
        corner = np.array(scene.size) * (0.05, 0.5) if number % 2 else np.array(scene.size) * (0.6, 0.1)
        scene.paste(figure, tuple(map(int, corner)))
        placed.append((Photo(scene, scene.size), joints + corner.astype(int)))
    spans = [np.linalg.norm(joints[LSP.index("l_shoulder")] - joints[LSP.index("r_hip")]) for _, joints in placed]
    for name, more in {"whole": {"passes": 1, "doubt": 0}, "searched": {}}.items():
        found = Posing(released, torch.device("cpu"), **more).find([photo for photo, _ in placed], boxes)
        errors[name] = [np.median(np.linalg.norm(poses.joints[0] - joints, axis=1)) / span
                        for poses, (_, joints), span in zip(found, placed, spans)]
    assert np.median(errors["searched"]) < 0.3 < 1 < np.median(errors["whole"])


@pytest.mark.parametrize("passes", [1, 2])
def test_a_part_that_was_chosen_is_looked_at_by_all_stages_though_smaller_ones_are_no_better(released, passes,
                                                                                               monkeypatch):
    sureness = {240: 0.1, 120: 0.3, 80: 0.05}  # by the square's side: the whole image, its halves, its thirds
    posing = Posing(released, torch.device("cpu"), passes=passes, least_confidence=0.5)  # no box moves

    def look(photos, boxes, quick=False):
        joints = np.full((len(boxes), 14, 2), 7.0 if quick else 70.0)
        confidence = np.repeat([[sureness[round(box[2])]] for box in boxes], 14, 1)
        return joints, confidence, confidence

    monkeypatch.setattr(posing, "_look", look)
    poses, = posing.find([Photo(Image.new("RGB", (240, 120)), (240, 120))], [None])
    assert poses.boxes[0, 2] == 120 and (poses.joints == 70).all()


@pytest.mark.parametrize("box_extents, margin, side", [(2.5, None, 100), (2.5, 1.5, 60), (None, None, 240),
                                                       (None, 1.5, 60)])
def test_later_boxes_are_as_those_in_training(released, box_extents, margin, side, monkeypatch):
    posing = Posing([replace(released[0], box_extents=box_extents)], torch.device("cpu"), margin=margin, doubt=0)
    joints, looks = np.linspace((100, 40), (120, 80), 14), []

    def look(photos, boxes):
        looks.append(boxes)
        return joints[None], np.ones((1, 14)), None

    monkeypatch.setattr(posing, "_look", look)
    poses, = posing.find([Photo(Image.new("RGB", (240, 120)), (240, 120))], [None])
    assert np.isclose(poses.boxes[0, 2], side) and len(looks) == (1 if side == 240 else 2)


def test_parts_cover_a_photograph_and_overlap():
    for size in ((300, 300), (400, 150), (99, 500)):
        parts = parts_of(size, 1 / 3)
        side = max(size) / 3
        assert np.allclose(parts[:, 2], side)
        for axis, length in enumerate(size):
            starts = np.unique(parts[:, axis])
            assert starts[0] <= 0 and np.isclose(starts[-1] + side, max(length, starts[-1] + side))
            assert starts[-1] + side >= length - 1e-9 and (np.diff(starts) <= side / 2 + 1e-9).all()


def test_every_stage_is_run_and_a_network_without_confidence_says_null(photos, tmp_path):
    torch.manual_seed(0)
    network = ResNetRegressor("efficientnet_lite0")
    save_stage1(tmp_path, network)
    cascade = CascadeNet(67, 0.05, 0.0, outputs=14)
    with torch.no_grad():
        last = [module for module in cascade.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.1, 0.0]).repeat(14))  # a tenth of the window to the right
    stage1 = load_stages(tmp_path, None, torch.device("cpu"))[0]
    run(photos[0], "--checkpoint-dir", tmp_path, "--out", tmp_path / "1", *PLAIN, "--no-flip-test")
    save_checkpoint(tmp_path / "stage2_shared.pt", {
        "network": cascade.arguments, "weights": cascade.state_dict(), "sigma": 1.0, "smallest_diameter": 0.5,
        "usual_side": 1.0, "flip_test": False, "refines": stage1.fingerprint, "dataset": "own",
        "settings": {"stage": 2},
        "history": [], "skeleton": LSP.plain(), "pixels": RGB.plain()})
    run(photos[0], "--checkpoint-dir", tmp_path, "--out", tmp_path / "2", *PLAIN)
    (before, _), (after, rows) = told(tmp_path / "1"), told(tmp_path / "2")
    for image, refined in zip(before["images"], after["images"], strict=True):
        moved = np.subtract(refined["persons"][0]["joints"], image["persons"][0]["joints"])
        assert np.allclose(moved[:, 1], 0, atol=0.01) and np.allclose(moved[:, 0], moved[0, 0], atol=0.01)
        assert moved[0, 0] > 0.04 * max(image["width"], image["height"])
    assert "score" in after and after["model"]["stages"] == 2
    assert before["model"]["fingerprint"] != after["model"]["fingerprint"]
    assert after["images"][0]["persons"][0]["score"] is None and rows[0]["score"] == ""


def test_depth_images_go_to_a_network_of_one_channel(tmp_path, capsys):
    torch.manual_seed(0)
    depth = Pixels(1, 16, (2000.0,), (800.0,))
    save_stage1(tmp_path, IntegralNet(joints=3, image_channels=1, channels=16), "integral", HAND, depth)
    values = np.random.default_rng(0).integers(0, 4000, (40, 50))
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(Failure, match="2 of 3 inputs can't be used"):
        run(tmp_path, "--checkpoint-dir", tmp_path, "--out", tmp_path / "out")
    content, _ = told(tmp_path / "out")
    assert [image["file"] for image in content["images"]] == [str(tmp_path / "deep.png")]
    assert {os.path.basename(one["file"]): one["reason"] for one in content["unusable"]} == {
        "flat.png": "8 bits a pixel; the model takes 16",
        "colour.png": "an image in colour (RGB), expected one channel"}
    assert "colour.png: an image in colour" in capsys.readouterr().err
    assert Image.open(tmp_path / "out/deep.png").size == (400, 320)
    low = Image.fromarray(np.full((40, 50), 90, np.uint8) + np.arange(50, dtype=np.uint8))
    low.save(tmp_path / "low.png")
    photo = read_photo(tmp_path / "low.png", Pixels(1, 8, (100.0,), (50.0,)))
    assert np.array_equal(np.asarray(on_screen(photo.image)), np.asarray(low)[..., None].repeat(3, 2))  # as it is


def test_overlays_lie_as_the_photographs_do_and_nothing_is_replaced_unasked(photos, tmp_path):
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    for name in ("x.jpg", "x.png", "a/x.jpg", "a/y.gif", "a/y.gif.png", f"a/odd name{END}ü.webp"):
        Image.open(photos[0] / "p0.png").save(tree / name)
    (tree / "notes.txt").write_text("")
    out = tree / "found"
    run(tree, "--out", out, *PLAIN, "--names")
    pictures = {path.relative_to(out).as_posix() for path in out.rglob("*.*")} - {"predictions.json", "predictions.csv"}
    assert pictures == {"x.jpg", "x.png", "a/x.jpg", "a/y.gif.png", "a/y.gif-2.png", f"a/odd name{END}ü.webp.png"}
    assert Image.open(out / "x.jpg").format == "JPEG" and Image.open(out / "x.png").format == "PNG"
    before = (out / "predictions.json").read_bytes()
    with pytest.raises(UserError, match="is there already; --overwrite replaces it"):
        run(tree, "--out", out, *PLAIN)
    (out / "predictions_coco.json").write_text("[]")  # an earlier run's
    run(tree, "--out", out, "--overwrite", *PLAIN)
    assert not (out / "predictions_coco.json").exists()
    strip = [json.loads(text)["images"] for text in (before, (out / "predictions.json").read_bytes())]
    assert strip[0] == strip[1]  # what it drew before is no photograph
    with pytest.raises(UserError, match="is one of the inputs"):
        run(tree / "x.jpg", "--out", tree, "--overwrite")


def test_what_can_not_be_used_is_named_and_the_rest_is_done(photos, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (tmp_path / "cut.png").write_bytes((photos[0] / "p1.png").read_bytes()[:2000])
    with pytest.raises(Failure, match="3 of 4 inputs can't be used") as error:
        run(tmp_path / "broken.jpg", photos[0] / "p0.png", tmp_path / "cut.png", tmp_path / "gone.jpg", "--out",
            tmp_path / "out", *PLAIN)
    assert error.value.status == 1
    content, rows = told(tmp_path / "out")
    assert len(content["images"]) == 1 and len(rows) == 14
    assert [os.path.basename(one["file"]) for one in content["unusable"]] == ["gone.jpg", "broken.jpg", "cut.png"]
    assert "cut.png" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, message", [
    (["none.jpg"], "none.jpg: not found"),
    (["no*.jpg"], "no file matches"),
    (["{here}"], "a folder without photographs"),
    (["{here}/a.jpg", "--box", "5", "5", "5", "9"], "--box: the box 5 5 5 9 has no area"),
    (["{here}/a.jpg", "--box", "0", "0", "9", "9", "--boxes", "b.csv"], "given; leave one of them out"),
    (["{here}/a.jpg", "--boxes", "b.csv"], "b.csv not found, or no file"),
    (["{here}/a.jpg", "--boxes", "{here}/c.csv"], "c.csv names none of the inputs, such as .*a.jpg"),
    (["{here}/a.jpg", "--checkpoint-dir", "{here}"], "stage1.pt not found"),
    (["{here}/a.jpg", "--checkpoint-dir", "{here}/a.jpg"], "a.jpg is a file; name the folder that checkpoints"),
])
def test_wrong_usage_is_told_in_a_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "folder"
    here.mkdir()
    if arguments[0] != "{here}":
        Image.new("RGB", (9, 9)).save(here / "a.jpg")
        (here / "c.csv").write_text("file,x0,y0,x1,y1\nb.jpg,0,0,5,5\n")
    with pytest.raises(UserError, match=message) as error:
        run(*(argument.format(here=here) for argument in arguments))
    assert error.value.status == 2 and not list(tmp_path.glob("predictions/*"))


def test_inputs_come_from_folders_patterns_and_lists_each_once(tmp_path, monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied")

    for name in ("b/2.jpg", "b/10.JPG", "b/c/film.MOV", "b/text.txt", "[1].png", "out/1.jpg", "b/._2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/c/up").symlink_to("..")
    here = str(tmp_path)
    found, missing, others = find_inputs([here], tmp_path / "out")
    assert [one.name for one in found] == ["[1].png", "b/2.jpg", "b/10.JPG", "b/c/film.MOV.mp4"]
    assert [one.video for one in found] == [False] * 3 + [True] and missing == [] and others == 1
    found, missing, _ = find_inputs([f"{here}/**/*.jpg", f"{here}/[1].png", "-", "gone"], tmp_path / "out",
                                    lambda: f"{here}/b/2.jpg\n\n{here}/b/10.JPG\r\n".encode())
    assert [one.name for one in found] == ["b/2.jpg", "[1].png", "b/10.JPG"]
    assert missing == [("gone", "not found")]
    found, _, others = find_inputs([f"{here}/b/*"], tmp_path / "out")  # other files are left aside as a folder's are
    assert sorted(one.name for one in found) == ["10.JPG", "2.jpg"] and others == 1
    assert [one.name for one in find_inputs([f"{here}/b/*.txt"], tmp_path / "out")[0]] == ["text.txt.png"]
    with pytest.raises(UserError, match=r"out/\*: all that matches lies in the folder for output"):
        find_inputs([f"{here}/out/*"], tmp_path / "out")
    with pytest.raises(UserError, match="b: the folder for output"):
        find_inputs([f"{here}/b"], tmp_path / "b")
    assert find_inputs([f"{here}/out", f"{here}/b"], tmp_path / "out")[1] == []  # as * gives it, after a first run
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda folder, scan=os.scandir: refuse() if folder.endswith("c") else scan(folder))
        found, missing, _ = find_inputs([f"{here}/b"], tmp_path / "out")
    assert len(found) == 2 and missing == [(f"{here}/b/c", "can't be listed: Permission denied")]
    listed = find_inputs(["-"], tmp_path, lambda: f"{here}/b/2.jpg\0new\nline.jpg\0".encode())
    assert [one.name for one in listed[0]] == ["2.jpg"] and listed[1] == [("new\nline.jpg", "not found")]
    (tmp_path / "long").mkdir()
    for end in "ab":
        (tmp_path / "long" / ("ü" * 120 + end + ".bmp")).touch()
    names = [one.name for one in find_inputs([f"{here}/long"], tmp_path)[0]]
    assert names == ["ü" * 75 + ".bmp.png", "ü" * 75 + ".bmp-2.png"]


@pytest.mark.parametrize("kind, has", [("regression", False), ("heatmap", True)])
def test_stages_tell_whether_they_have_a_confidence(kind, has):
    network = new_network(kind, 14, 32, {"backbone": "resnet18", "image_channels": 3})
    first = Stage1(network.eval(), 32, False, False, "it", LSP, RGB, 48, 1.5)
    assert Posing([first], torch.device("cpu")).has_confidence is has


def test_where_nothing_can_be_read_nothing_is_written(tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(Failure, match=r"none of the inputs can be used, as told above \(1\); nothing is written"):
        run(tmp_path / "text.jpg", "--out", tmp_path / "out", *PLAIN)
    assert "can't be used: " in capsys.readouterr().err and not list((tmp_path / "out").glob("p*"))


def test_a_folder_of_all_steps_is_not_that_of_the_weights(tmp_path):
    (tmp_path / "mine/checkpoints").mkdir(parents=True)
    (tmp_path / "mine/checkpoints/stage1.pt").touch()
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="mine/stage1.pt not found; did you mean .*mine/checkpoints?"):
        run(tmp_path / "a.png", "--out", tmp_path / "out", "--checkpoint-dir", tmp_path / "mine")


def test_a_list_on_standard_input(photos, tmp_path, monkeypatch):
    listed = "\n".join(map(str, sorted(photos[0].glob("*.png"))[:2])).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    run("-", "--out", tmp_path, *PLAIN, "--no-overlays")
    assert len(told(tmp_path)[0]["images"]) == 2 and not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_large_photographs_are_reduced_and_all_are_turned_upright(tmp_path, suffix):
    ramp = np.add.outer(np.arange(403) / 3, np.arange(611) / 5)
    image = Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], 2).astype(np.uint8))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_270}.get(orientation)
        path = tmp_path / f"o.{suffix}"
        (image if back is None else image.transpose(back)).save(
            path, exif=exif, **{"quality": 95} if suffix == "jpg" else {})
        photo = read_photo(path, RGB, 100)
        assert photo.size == (611, 403) and photo.reduction == 4 and photo.image.size == (153, 101)
        middles = np.asarray(image, float)[:400, :608].reshape(100, 4, 152, 4, 3).mean((1, 3))
        assert np.abs(np.asarray(photo.image, float)[:100, :152] - middles).mean() < 1.5
        assert read_photo(path, RGB).image.size == (611, 403)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photograph_is_reduced_as_one_saved_upright(tmp_path, orientation):
    """Its sides can't be divided by 4: what is over must be at the same end."""
    ramp = np.add.outer(np.abs(np.arange(403) % 40 - 20) * 6, np.abs(np.arange(611) % 40 - 20) * 6)
    image = Image.fromarray(np.stack([ramp] * 3, 2).astype(np.uint8))
    image.save(tmp_path / "upright.jpg", quality=98)
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    image.transpose(back).save(tmp_path / "turned.jpg", quality=98, exif=exif)
    upright, turned = (read_photo(tmp_path / f"{name}.jpg", RGB, 100) for name in ("upright", "turned"))
    assert upright.reduction == turned.reduction == 4 and upright.size == turned.size == (611, 403)
    assert np.abs(np.asarray(upright.image, float) - np.asarray(turned.image, float))[2:-2, 2:-2].max() < 6


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.new("RGB", (640, 400)).save(tmp_path / "odd.jpg", exif=exif)
    photo = read_photo(tmp_path / "odd.jpg", RGB, 100)
    assert photo.size == (640, 400) and photo.image.size == (160, 100)


def test_a_photograph_narrower_than_its_reduction(tmp_path):
    Image.new("RGB", (3, 900), (10, 200, 30)).save(tmp_path / "narrow.jpg")
    photo = read_photo(tmp_path / "narrow.jpg", RGB, 100)
    assert photo.size == (3, 900) and photo.reduction == 8 and photo.image.size == (1, 113)
    assert np.abs(np.asarray(photo.image)[0, 0] - (10.0, 200, 30)).max() < 4


def test_a_reduced_photograph_gives_the_joints_of_the_whole(photos, tmp_path, released, monkeypatch):
    posing = Posing(released, torch.device("cpu"))
    figure = Image.open(photos[0] / "p1.png")
    figure.resize([12 * side for side in figure.size], Image.Resampling.BICUBIC).save(tmp_path / "large.jpg",
                                                                                            quality=92)
    large, whole = (read_photo(tmp_path / "large.jpg", RGB, side) for side in (posing.least_side, None))
    assert large.reduction >= 2 and whole.reduction == 1
    box = np.array([[0.2 * large.size[0], 0.2 * large.size[1], 0.3 * large.size[0]]])  # for which it is read again
    for boxes in (None, box):
        found = [posing.find([photo], [boxes])[0].joints for photo in (large, whole)]
        assert np.abs(found[0] - found[1]).max() < 0.01 * max(large.size)
    read, several = [], box * np.linspace(1, 0.8, 9)[:, None] ** (0, 0, 1)
    monkeypatch.setattr("deeppose.photos.read_photo", lambda *given: read.append(1) or read_photo(*given))
    posing.crops([large] * 9, several)
    assert len(read) == 1  # of many persons in a photograph


def test_odd_images_are_read(tmp_path):
    grey = Image.fromarray(np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32))
    grey.save(tmp_path / "deep.png")
    assert np.asarray(read_photo(tmp_path / "deep.png", RGB).image)[31, 31].tolist() == [255] * 3
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((1, 1), (10, 20, 30, 255))
    clear.save(tmp_path / "clear.png")
    seen = np.asarray(read_photo(tmp_path / "clear.png", RGB).image)
    assert seen[1, 1].tolist() == [10, 20, 30] and seen[0, 0].tolist() == list(RGB.padding)
    content = (tmp_path / "clear.png").read_bytes()
    assert np.array_equal(seen, np.asarray(decode(lambda member: content, "")))  # as a network was trained on it
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    assert np.allclose(np.asarray(read_photo(tmp_path / "print.jpg", RGB).image)[0, 0], [255, 0, 0], atol=8)
    if fifos := hasattr(os, "mkfifo"):  # which Windows lacks
        os.mkfifo(tmp_path / "pipe.jpg")
    Image.new("1", (14000, 14000)).save(tmp_path / "huge.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    for name, reason in (*[("pipe.jpg", "no regular file")] * fifos, ("huge.png", "more than 178 million pixels"),
                         ("empty.jpg", "an empty file"), ("link.jpg", "a link to what is not there")):
        with pytest.raises(Unreadable, match=reason):
            read_photo(tmp_path / name, RGB)


def test_boxes_of_every_form(tmp_path):
    forms = {"b.csv": "x0,file,y0,x1,y1,score\n1,a/p.jpg,2,5,8,0.5\n0,q.jpg,0,4,2,1\n2,q.jpg,0,6,2,1\n",
             "semicolons.csv": "file;x0;y0;x1;y1\na/p.jpg;1,0;2;5;8\nq.jpg;0;0;4;2\nq.jpg;2;0;6;2\n",
             "b.json": json.dumps({"a/p.jpg": [[1, 2, 5, 8]], "q.jpg": [[0, 0, 4, 2], [2, 0, 6, 2]], "r.jpg": []}),
             "coco.json": json.dumps({
                 "images": [{"id": 7, "file_name": "p.jpg"}, {"id": 9, "file_name": "q.jpg"}],
                 "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
                 "annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 4, 6]},
                                 {"image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9]},
                                 {"image_id": 9, "category_id": 1, "bbox": [0, 0, 4, 2]},
                                 {"image_id": 9, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 40, 20]},
                                 {"image_id": 9, "category_id": 1, "bbox": [2, 0, 4, 2]}]})}
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        boxes = read_boxes(tmp_path / name)
        found, coco = boxes.of("/photos/a/p.jpg")
        assert squares(found, 1.5).tolist() == [[-1.5, 0.5, 9.0]] and not boxes.seen
        assert coco == {"image_id": 7 if name == "coco.json" else None,
                        "categories": [1] if name == "coco.json" else None}
        assert squares(boxes.of("q.jpg")[0], 1.0).tolist() == [[0, -1, 4], [2, -1, 4]]
        assert squares(boxes.of("/photos/none.jpg")[0], 1.0).shape == (0, 3)
    for text, message in (("x0,y0,x1,y1\n", "no column 'file'"), ('{"a": [[1, 2, 3]]}', "is no box"),
                          ('{"a": [[1, 2, "x", 3]]}', "are not numbers"), ("file,x0,y0,x1,y1\na,1,1,0,0\n", "line 2"),
                          ("{", "takes a CSV"), ('{"images": [{}], "annotations": []}', "no file_name"),
                          ("[1]", "holds a list"), ('{"a": [[1, 2, 1' + "0" * 400 + ', 3]]}', "are not numbers"),
                          ('{"images": [{"id": 1, "file_name": "a"}], "categories": [{"name": "person"}], '
                           '"annotations": []}', "the category person has no id"),
                          ('{"images": [{"file": "f.mp4", "persons": [], "frame": 0}]}', "of a film"),
                          ('{"a": [[1, 2, NaN, 3]]}', "has no area")):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(Failure, match=message):
            read_boxes(tmp_path / "bad")
    assert squares(np.empty((0, 4)), 1.0).shape == (0, 3)
    empty = {"images": [{"id": 1, "file_name": "a"}], "categories": None, "annotations": None}  # as some programs write
    (tmp_path / "empty").write_text(json.dumps(empty))
    assert len(read_boxes(tmp_path / "empty").of("a")[0]) == 0
    (tmp_path / "bad").write_bytes("file,x0,y0,x1,y1\nGr\u00f6\u00dfe.jpg,1,2,3,4\n".encode("cp1252"))
    with pytest.raises(Failure, match="bad is not in UTF-8"):
        read_boxes(tmp_path / "bad")
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\nGr\u00f6\u00dfe.jpg,1,2,3,4\n", encoding="utf-8")
    assert len(read_boxes(tmp_path / "b.csv").of("/photos/Gro\u0308\u00dfe.jpg")[0]) == 1  # as macOS may have it


def test_one_entry_is_not_for_two_photographs(tmp_path):
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        Image.new("RGB", (64, 48)).save(tmp_path / day / "1.jpg")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\n1.jpg,1,2,30,40\n")
    flags = [tmp_path / "monday", tmp_path / "tuesday", "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "out"]
    with pytest.raises(UserError, match="names 1.jpg, which may be .*monday/1.jpg or .*tuesday/1.jpg; name them"):
        run(*flags)
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\nmonday/1.jpg,1,2,30,40\ntuesday/1.jpg,1,2,30,40\n")
    run(*flags, "--no-overlays")
    assert [len(image["persons"]) for image in told(tmp_path / "out")[0]["images"]] == [1, 1]


def test_several_persons_an_image_and_cocos_results(photos, tmp_path):
    pair = Image.new("RGB", (500, 300), (90, 120, 90))
    corners = [(20, 40), (300, 60)]
    sizes = []
    for number, corner in enumerate(corners):
        figure = Image.open(photos[0] / f"p{number}.png")
        pair.paste(figure, corner)
        sizes.append(figure.size)
    pair.save(tmp_path / "000017.jpg", quality=95)
    Image.new("RGB", (64, 48)).save(tmp_path / "000018.jpg")
    boxes = [[x, y, x + width, y + height] for (x, y), (width, height) in zip(corners, sizes)]
    (tmp_path / "boxes.json").write_text(json.dumps({"000017.jpg": boxes, "000018.jpg": []}))
    run(tmp_path, "--boxes", tmp_path / "boxes.json", "--box-margin", "1", "--passes", "1", "--out", tmp_path / "out",
        "--format", "coco")
    content, rows = told(tmp_path / "out")
    results = json.loads((tmp_path / "out/predictions_coco.json").read_text())
    assert [len(image["persons"]) for image in content["images"]] == [2, 0]
    assert [result["image_id"] for result in results] == [17, 17] and all(len(r["keypoints"]) == 42 for r in results)
    assert {row["person"] for row in rows} == {"0", "1", ""} and rows[-1]["file"].endswith("18.jpg")
    for person, number in zip(content["images"][0]["persons"], range(2)):
        away = np.median(person["joints"], axis=0) - np.median(photos[1][number] + corners[number], axis=0)
        assert np.abs(away).max() < 25  # of some 140 pixels' height: each person in the box of their own
    assert [result["category_id"] for result in results] == [1, 1]
    # squares that were looked at, as they are; and horses, by COCO's own form
    run(tmp_path, "--boxes", tmp_path / "out/predictions.json", "--passes", "1", "--out", tmp_path / "again")
    again = told(tmp_path / "again")[0]["images"]
    for first, second in zip(content["images"][0]["persons"], again[0]["persons"], strict=True):
        assert np.allclose(first["box"], second["box"], atol=0.01)
        assert np.allclose(first["joints"], second["joints"], atol=0.1)
    (tmp_path / "horses.json").write_text(json.dumps({
        "images": [{"id": 5, "file_name": "000017.jpg"}], "categories": [{"id": 3, "name": "horse"}],
        "annotations": [{"image_id": 5, "category_id": 3, "bbox": [*corner, *size]}
                        for corner, size in zip(corners, sizes)]}))
    run(tmp_path / "000017.jpg", "--boxes", tmp_path / "horses.json", "--box-margin", "1", "--passes", "1", "--out",
        tmp_path / "horses", "--format", "coco")
    horses = json.loads((tmp_path / "horses/predictions_coco.json").read_text())
    assert [(one["image_id"], one["category_id"]) for one in horses] == [(5, 3)] * 2
    assert np.allclose([one["keypoints"] for one in horses], [one["keypoints"] for one in results], atol=0.01)
    beside = {"000017.jpg": [boxes[0], [500, 0, 600, 300]], "000018.jpg": []}
    (tmp_path / "beside.json").write_text(json.dumps(beside))
    with pytest.raises(Failure, match="1 of 2 inputs"):
        run(*tmp_path.glob("0000*.jpg"), "--boxes", tmp_path / "beside.json", "--out", tmp_path / "beside")
    unusable = told(tmp_path / "beside")[0]["unusable"]
    assert [one["reason"] for one in unusable] == ["the box 500 0 600 300 lies beside it; it is 500 x 300"]
    run(tmp_path / "000017.jpg", "--box", *boxes[1], "--box-margin", "1", "--passes", "1", "--out", tmp_path / "one")
    assert np.allclose(told(tmp_path / "one")[0]["images"][0]["persons"][0]["joints"],
                       content["images"][0]["persons"][1]["joints"], atol=0.01)


def test_a_box_is_looked_at_with_a_margin(photos, tmp_path, monkeypatch):
    seen, find = [], Posing.find
    monkeypatch.setattr(Posing, "find", lambda self, photos, boxes: seen.append(boxes) or find(self, photos, boxes))
    for flags in ([], ["--box-margin", "2"]):
        run(photos[0] / "p0.png", "--box", "20", "30", "60", "50", "--out", tmp_path / str(len(flags)), *PLAIN, *flags)
    assert [boxes[0].tolist() for boxes in seen] == [[[16, 16, 48]], [[0, 0, 80]]]


def test_a_detector_tells_who_is_looked_at(photos, tmp_path, monkeypatch):
    """First a network of random weights, then a stand-in: a person, a dog, one in doubt and an empty box."""
    torch.manual_seed(0)
    name = "ssdlite320_mobilenet_v3_large"
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    flags = [photos[0] / "p0.png", "--detector", name, "--detector-weights", tmp_path / "weights.pth", "--passes", "1"]
    run(*flags, "--out", tmp_path / "none", "--least-score", "1")
    content, rows = told(tmp_path / "none")
    assert content["images"][0]["persons"] == [] and [row["joint"] for row in rows] == [""]
    width, height = Image.open(photos[0] / "p0.png").size

    def seen(self, images):
        assert images[0].shape == (3, height, width) and images[0].max() <= 1
        boxes = torch.tensor([[0.0, 0.0, width, height], [2, 2, 30, 30], [0, 0, 9, 9], [5, 5, 5, 9]])
        return [{"boxes": boxes, "labels": torch.tensor([1, 18, 1, 1]), "scores": torch.tensor([0.9, 0.9, 0.2, 0.9])}]

    monkeypatch.setattr(type(network), "forward", seen)
    run(*flags, "--out", tmp_path / "one", "--box-margin", "1")
    monkeypatch.undo()
    run(*flags[:1], "--out", tmp_path / "whole", *PLAIN)
    found, whole = (told(tmp_path / name)[0]["images"][0]["persons"] for name in ("one", "whole"))
    assert len(found) == 1 and np.allclose(found[0]["joints"], whole[0]["joints"], atol=0.01)
    (tmp_path / "odd.pth").write_bytes(b"nothing")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for flag, value, message in (("--detector-weights", "odd.pth", "is no file of weights"),
                                 ("--detector-weights", "other.pth", "holds no weights of ssdlite"),
                                 ("--detector-weights", "gone.pth", "is no file of weights"),
                                 ("--detector", "yolo", "no detector named 'yolo'")):
        value = tmp_path / value if value.endswith("pth") else value
        with pytest.raises(UserError, match=message):
            run(*flags, flag, value, "--out", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_output_is_whole_or_absent(tmp_path):
    found = Found("a.jpg", (9, 9), np.full((1, 14, 2), np.nan), None, np.zeros((1, 3)))
    with pytest.raises(ZeroDivisionError), writing(tmp_path, LSP, {}, "score") as (add, _):
        add(found)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with writing(tmp_path, LSP, {}, "score") as (add, ending):
        add(found)
        ending["unusable"] = []
    assert told(tmp_path)[0]["images"][0]["persons"][0]["joints"][0] == [None, None]


def test_sides_have_colours_and_doubtful_joints_fade():
    joints = np.array([[20, 180], [20, 140], [20, 100], [80, 100], [80, 140], [80, 180], [10, 60], [10, 40], [20, 20],
                       [80, 20], [90, 40], [90, 60], [50, 10], [50, 0]], float)
    opacity = np.ones(14)
    opacity[LSP.index("l_knee")] = 0.35
    picture = Image.new("RGB", (100, 200), (255, 255, 255))
    draw_pose(picture, joints, LSP, opacity)
    pixels = np.asarray(picture)
    assert pixels[160, 20].tolist() == list(COLOURS["right"]) and pixels[30, 85].tolist() == list(COLOURS["left"])
    assert pixels[60, 50].tolist() == list(COLOURS["centre"])
    faded = pixels[160, 80].astype(int)  # the lower leg, faint by its knee, but to be seen
    assert (faded < 250).any() and np.abs(faded - COLOURS["left"]).max() > 40
    draw_pose(picture, np.full((14, 2), np.nan), LSP, opacity)
    draw_pose(picture, np.full((14, 2), 1e9), LSP, opacity)
    assert np.asarray(picture).tolist() == pixels.tolist()


def test_joints_of_less_confidence_than_asked_are_drawn_faded(photos, tmp_path):
    drawn = {}
    for limit in ("0", "0.5", "1"):
        run(photos[0] / "p1.png", "--out", tmp_path / limit, "--faded-below", limit)
        drawn[limit] = np.asarray(Image.open(tmp_path / limit / "p1.png")).astype(float)
    person = told(tmp_path / "0.5")[0]["images"][0]["persons"][0]
    joints, sure = np.array(person["joints"]), np.array(person["confidence"])
    middle = sum(sorted(sure)[6:8]) / 2
    run(photos[0] / "p1.png", "--out", tmp_path / "some", "--faded-below", middle)
    some = np.asarray(Image.open(tmp_path / "some" / "p1.png")).astype(float)
    scale = np.array(some.shape[1::-1]) / Image.open(photos[0] / "p1.png").size
    places, plain = np.round((joints + 0.5) * scale - 0.5).astype(int), {"0": 0, "1": 0}
    for name, (x, y), doubtful in zip(LSP.joints, places, sure < middle):
        whole, faded = (np.abs(some[y, x] - drawn[limit][y, x]).max() for limit in ("0", "1"))
        assert faded == 0 if doubtful else whole == 0
        for limit in plain:
            plain[limit] += drawn[limit][y, x].tolist() == list(COLOURS[LSP.side([name])])
    assert plain["0"] > 10 and plain["1"] == 0


def test_names_keep_out_of_each_others_way(monkeypatch):
    boxes = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda draw, at, name, ink, font, anchor, stroke_width, **more:
                        boxes.append(draw.textbbox(at, name, font, anchor, stroke_width=stroke_width)))

    def written(poses):
        boxes.clear()
        write_names(Image.new("RGB", (400, 300)), poses, LSP)
        return np.array(boxes)

    joints = np.full((14, 2), np.nan)
    joints[:9] = np.linspace((60, 150), (340, 150), 9)  # an outstretched row, nearer than the names are long
    for poses in ([joints], [joints, np.full((14, 2), np.nan), joints + (0, 90)]):
        own = written(poses)
        assert len(own) == 9 * np.isfinite(poses).any((1, 2)).sum()
        assert own[:, 1].min() >= 0 and own[:, 3].max() <= 300
        assert overlap(own, own).tolist() == np.prod(own[:, 2:] - own[:, :2], axis=1).tolist()  # only on themselves
    assert not len(written([np.full((14, 2), 1e9)]))
    for y in (2, 298):  # at the top or bottom as well, if cut rather than gone
        joints[:4] = [(200, y), (210, y), (205, y), (203, y)]
        own = written([joints])
        assert (own[:, 1] < 300).all() and (own[:, 3] > 0).all() and ((own[:, 1] >= 0) & (own[:, 3] <= 300)).sum() >= 8
    for x in (1, 398):  # near an edge it stays whole
        box, = written([np.where(np.arange(14)[:, None] == 0, (x, 150.0), np.nan)])
        assert 0 <= box[0] < box[2] <= 400 and box[1] < 150 < box[3]


def test_flags_may_stand_between_paths(photos, tmp_path):
    run(photos[0] / "p0.png", "--out", tmp_path, "--passes", "1", photos[0] / "p1.png", "--doubt", "0")
    assert len(told(tmp_path)[0]["images"]) == 2
    assert Path(tmp_path, "p0.png").exists()
