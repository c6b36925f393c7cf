"""The page says what the runs hold and nothing else, asks nobody for anything, and is whole or absent."""
import base64
import html.parser
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

import lsp_data
import predict
import report
from cascade_net import CascadeNet
from deeppose import arrays, report_charts, report_html, report_sections
from deeppose.checkpoints import save_checkpoint
from deeppose.comparison import person_errors
from deeppose.crops import make_windows, sample_windows
from deeppose.errors import Failure, UserError
from deeppose.metrics import joint_hits, reference_lengths
from deeppose.persons import LooseCrops, load_persons
from deeppose.pixels import RGB, Pixels
from deeppose.report_errors import KINDS, error_kinds, kind_shares, mirrored_persons
from deeppose.report_persons import gallery_of
from deeppose.reports import cell
from deeppose.skeletons import LSP, Skeleton
from deeppose.testing import add_confidence, gain, mean_pose, score_persons
from figures.scene import draw_figure
from networks.integral import IntegralNet
from networks.pose_refiner import begun_as
from networks.road import as_stored, heatmaps, road
from networks.trained_facts import training_facts
from networks.trained_stages import CascadeStage, Stage1, load_stages, run_with_confidence

CPU = torch.device("cpu")
HORSE = Skeleton(("nose", "r_hoof", "l_hoof", "tail"), pairs=(("r_hoof", "l_hoof"),))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "br", "input", "img", "link", "hr"}


class Page(html.parser.HTMLParser):
    """What a page holds: ids, links, pictures, texts; fails where tags are not balanced."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.ids, self.text = [], [], [], path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def section(self, name):
        """The text of a section, without its tags."""
        inner = self.text.split(f'<section id="{name}"')[1].split("</section>")[0]
        return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "", inner, flags=re.DOTALL)))

    def labels(self):
        return [svg["aria-label"] for svg in self.all("svg") if svg.get("role") == "img"]


def save_stages(folder, persons, joints=("r_wrist", "neck")):
    """A stage 1 with heatmaps and a stage 2 of two joints, of random weights."""
    torch.manual_seed(0)
    first = IntegralNet(joints=14, channels=16)
    first.heatmaps[0].weight.data *= 50  # maps of one peak, as of a trained network
    facts = {"dataset": "lsp", "skeleton": LSP.plain(), "pixels": RGB.plain(), "split": persons.split,
             "test_set": persons.test_set, "provenance": {"commit": "abc1234", "hardware": "an abacus, 2 cores",
                                                          "date": "2026-01-02", "seconds": 90.0}}
    save_checkpoint(folder / "stage1.pt", facts | {
        "kind": "integral", "network": first.arguments, "weights": first.state_dict(), "input_size": 64,
        "crop_size": 96, "context": 1.5, "settings": {"seed": 7, "optimiser": "adam", "epochs": 3, "weights": "none"},
        "best_epoch": 2, "history": [{"epoch": n, "loss": 1 / n, "validation_loss": 2 / n, "pdj": 20.0 * n,
                                      "seconds": 40.0} for n in (1, 2, 3)]})
    before = load_stages(folder, persons, CPU)[0].fingerprint
    for joint in joints:
        network = CascadeNet(67, 0.05)
        torch.nn.init.normal_(network.regressor[-1].weight, std=0.02)
        save_checkpoint(folder / f"stage2_{joint}.pt", facts | {
            "network": network.arguments, "weights": network.state_dict(), "sigma": 1.0, "smallest_diameter": 0.2,
            "usual_side": 0.4, "flip_test": False, "refines": before, "joint": joint,
            "settings": {"seed": 7, "weights": "stage1", "rotation": 15.0, "shift": 0.05, "colour": 0.2},
            "best_epoch": 1, "history": [{"joint": joint, "epoch": 1, "loss": 0.3, "pdj": 40.0, "pdj_before": 30.0,
                                          "seconds": 60.0}]})


def save_test_runs(folder, persons, data_dir):
    """Two test runs of ten persons, of poses that are near the truth: in stage 2 person 3 is better, 7 worse; in
    both 5 is the worst of all and 9 seen from the wrong side."""
    generator, truth, names = np.random.default_rng(0), persons.truth, ("stage 1", "stage 2")
    near = [truth + generator.normal(0, 1.5, truth.shape) for _ in names]
    near[0][3] += (14, 0)
    near[1][7] += (0, 14)
    for pose in near:
        pose[5] = (1.0, 1.0)
        pose[9] = pose[9][list(LSP.mirror)]
    poses = dict(zip(names, (pose.astype(np.float32) for pose in near)))
    poses = {"mean pose": mean_pose(data_dir, len(truth))} | poses
    sure = {name: generator.uniform(0.2, 1, truth.shape[:2]) for name in names}
    scores = {name: score_persons(pose, persons) for name, pose in poses.items()}
    add_confidence(scores, poses, sure, ["stage 1"], persons)
    more = {"box": "the whole image squared", "settings": {}, "date": "2026-01-03", "commit": "def5678"}
    arrays.save_json(folder / "stage1.json", scores["stage 1"] | {"mean pose": scores["mean pose"]} | more)
    gains = gain(poses["stage 1"], poses["stage 2"], truth, LSP, persons.head_sizes, persons.box_side)
    arrays.save_json(folder / "stage2.json", scores["stage 2"] | {"gain_over_stage1": gains} | {
        name: scores[name] for name in ("mean pose", "stage 1")} | more)
    for number, name in enumerate(names, 1):
        arrays.save(folder / f"stage{number}_predictions.npy", poses[name], "predictions")
    return poses, scores


@pytest.fixture(scope="module")
def run(raw_dir, tmp_path_factory):
    """A folder with data, trained stages, two test runs, and the page about them."""
    folder = tmp_path_factory.mktemp("report")
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(folder / "data"), "--run-dir", str(folder / "prepared"),
                   "--train-on", "lsp", "--lsp-train-images", "30", "--crop-size", "96", "--workers", "1"])
    persons = load_persons(folder / "data", "test", CPU)
    save_stages(folder / "checkpoints", persons)
    poses, scores = save_test_runs(folder / "runs", persons, folder / "data")
    make(folder, "--shown", "2")
    return folder, persons, poses, scores


def make(folder, *flags, runs="runs", data="data", checkpoints="checkpoints"):
    report.main(["--run-dir", str(folder / runs), "--data-dir", str(folder / data), "--checkpoint-dir",
                 str(folder / checkpoints), "--draws", "100", *map(str, flags)])


@pytest.fixture(scope="module")
def page(run):
    return Page(run[0] / "runs/report.html")


def test_the_page_asks_nobody_for_anything_and_all_its_links_lead_somewhere(page):
    assert len(page.text.encode()) < report.LARGEST
    assert not page.all("script") and not page.all("link") and "url(" not in page.text and "@import" not in page.text
    assert "default-src 'none'" in next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    targets = [value for _, attributes in page.tags for key, value in attributes.items()
               if key in ("href", "src", "srcset", "xlink:href", "action", "poster")]
    assert len(targets) > 30 and all(re.match(r"#|data:image/jpeg;base64,", target) for target in targets)
    assert len(set(page.ids)) == len(page.ids)
    assert {target[1:] for target in targets if target[0] == "#"} <= set(page.ids)
    for picture in page.all("image"):
        Image.open(io.BytesIO(base64.b64decode(picture["href"].split(",")[1]))).load()


def test_pictures_tables_and_switches_have_names(page):
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert len(page.labels()) > 50 and all(len(label) > 10 for label in page.labels())
    assert len(page.all("caption")) == len(page.all("table")) and all(
        "tabindex" in box and box["aria-label"] for box in page.all("div") if box.get("class") == "scroll")
    switches = [box["id"] for box in page.all("input")]
    assert switches and all(f"#{switch}" in page.text.split("</style>")[0] for switch in switches)
    assert {tag["lang"] for tag in page.all("html")} == {"en"}


def test_it_says_what_was_trained(run, page):
    first, second = (trained.facts for trained in training_facts(run[0] / "checkpoints").values())
    assert (first["initial weights"], second["initial weights"]) == ("none", "random")
    assert second["augmentation"] == "rotation 15.0, colour 0.2"  # AlexNets' windows are not shifted
    text = page.section("training")
    for told in ("integral, efficientnet_lite0", "2 AlexNets, a joint each", "neck, r_wrist", "abc1234", "an abacus",
                 "2.0", "10 lsp", "r_ankle, r_knee"):
        assert told in text, told


def test_scores_are_those_of_the_report_with_bootstrap_intervals(run, page):
    _, persons, poses, scores = run
    text = " ".join(page.section("scores").split())
    for name, pose in poses.items():
        hits = joint_hits(pose, persons.truth, reference_lengths(persons.truth, LSP, persons.box_side), 0.2)
        low, high = report.limits_of({name: scores[name]}, {name: pose}, persons, 100, 0)[0][name, "pck@0.2", "mean"]
        assert f"{cell(scores[name]['pck@0.2']['mean'])} ({low:.1f} to {high:.1f})" in text
        generator = np.random.default_rng(0)
        drawn = [100 * np.nanmean(hits[generator.integers(10, size=10)], 0).mean() for _ in range(100)]
        assert [low, high] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=1e-6)
    assert "bootstrap over persons, 100 draws" in text and "the whole image squared" in text
    assert re.search(r"stage 2 over stage 1 .*PCK@0.2 [-+]\d+\.\d \([-+]\d+\.\d to [-+]\d+\.\d\)", text)


def test_without_persons_intervals_are_of_the_standard_errors(run, tmp_path):
    folder, _, _, scores = run
    make(folder, "--out", tmp_path / "a.html", data="none")
    page = Page(tmp_path / "a.html")
    mean, error = scores["stage 2"]["pck@0.2"]["mean"], scores["stage 2"]["standard_error"]["pck@0.2"]
    assert f"{mean:.1f} ({mean - 1.96 * error:.1f} to {mean + 1.96 * error:.1f})" in page.section("scores")
    assert "1.96 standard errors" in page.section("scores")
    for part in ("gallery", "errors"):
        assert "no test persons here" in page.section(part)
    assert "Not shown: there are no predictions of test persons here" in page.section("roads")
    assert not page.all("image")


def test_the_gallery_leads_to_the_worst_and_to_what_changed(run, page):
    _, persons, poses, _ = run
    text, images = page.section("gallery"), persons.dataset["test"]["image"]
    errors = {name: person_errors(pose, persons.truth, LSP, persons.box_side) for name, pose in poses.items()}
    order = np.argsort(errors["stage 2"])
    groups = re.split(r"(?:Worst|Median|Best|Exchanged most|Became (?:better|worse) most)\s+(?=The|As|From)",
                      text.split("Shown over the pictures")[1])[1:]
    worst, median, better, worse, best, exchanged = groups
    assert f"{images[5]}: stage 2 {errors['stage 2'][5]:.2f}" in worst
    assert images[order[0]] in best and images[order[4]] in median and images[order[5]] in median
    for row, group in ((3, better), (7, worse)):
        before, after = (errors[name][row] for name in ("stage 1", "stage 2"))
        assert f"{images[row]}: stage 1 {before:.2f}, stage 2 {after:.2f}" in group
    counts = np.bincount(error_kinds(poses["stage 2"], persons.truth, LSP, persons.box_side)[7], minlength=4)
    told = ", ".join(f"{count} {kind}" for count, kind in zip(counts, KINDS) if count)
    assert f"({told})" in worse and re.search(rf"{images[9]}: .*\d exchanged", exchanged)
    assert sum("href" in use and use["href"].startswith("#person-") for use in page.all("use")) > 1


def test_poses_lie_over_the_pixels_that_they_are_of(run):
    _, persons, poses, _ = run
    kinds = {name: error_kinds(pose, persons.truth, LSP, persons.box_side) for name, pose in poses.items()}
    person = gallery_of(poses, kinds, persons, 2)[1](3)
    assert (person.pixels == persons.crops[3, 16:80, 16:80].numpy()).all()  # the box in the crop's middle
    assert (person.truth == persons.truth[3] - 16).all()
    joints = person.truth.copy()
    joints[4], joints[5] = np.nan, (1e5, 10)
    layer = str(report_html.pose_layer(joints, LSP, 64, "truth"))
    dots = np.array(re.findall(r"M(-?[\d.]+) (-?[\d.]+)h0", layer.split("</path>")[1]), float)
    joints[5] = 256, 10  # which is out of sight
    expected = joints[np.isfinite(joints).all(1)]
    assert sorted(dots.tolist()) == pytest.approx(np.array(sorted(expected.tolist())), abs=0.051)
    picture = str(report_html.picture("it", "data:", 64, report_html.ring((3, 4), 64)))
    assert 'viewBox="-0.5 -0.5 64 64"' in picture and 'x="-0.5" y="-0.5" width="64"' in picture
    assert 'cx="3.0" cy="4.0"' in picture and report_html.ring((np.nan, 4), 64) is None
    arrow = str(report_html.arrow(np.array([10, 10]), np.array([30, 10]), 64, (1, 2, 3)))
    assert 'd="M10.0 10.0L30.0 10.0M30.0 10.0l' in arrow and "#010203" in arrow


def test_kinds_of_errors_by_hand():
    truth = np.array([[[10.0, 10], [50, 50], [80, 50], [90, 10]]] * 2)
    truth[1, 3] = np.nan
    predicted = truth.copy()
    predicted[0, 1] = (81, 50)    # where the left hoof is, nearly; half a box is 50
    predicted[0, 2] = (80, 70)    # 20 off
    predicted[0, 3] = (10, 10)    # where the nose is, which is no other side
    predicted[1, 0] = np.nan
    kinds = error_kinds(predicted, truth, HORSE, 100.0)
    expected = ["right", "exchanged", "inaccurate", "missed"]
    assert [KINDS[kind] for kind in kinds[0]] == expected
    assert [KINDS[kind] for kind in kinds[1, :3]] == ["missed", "right", "right"] and kinds[1, 3] == -1
    shares = kind_shares(kinds)
    assert shares[1:] == pytest.approx(np.array([[0.5, 0, 0, 0.5], [0.5, 0, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1.0]]))
    assert shares[0] == pytest.approx(shares[1:].mean(0)) and np.isnan(kind_shares(np.full((2, 4), -1))).all()
    assert mirrored_persons(kinds, HORSE) == 0
    predicted[0, 1:3] = truth[0, [2, 1]]
    assert mirrored_persons(error_kinds(predicted, truth, HORSE, 100.0), HORSE) == 1


def test_errors_are_told_apart_on_the_page(run, page):
    _, persons, poses, _ = run
    shares = kind_shares(error_kinds(poses["stage 2"], persons.truth, LSP, persons.box_side))[0]
    assert "stage 2 " + " ".join(cell(100 * share) for share in shares) in " ".join(page.section("errors").split())


def test_a_score_is_no_confidence(page):
    text = " ".join(page.section("reliability").split())
    assert "calibration error, points" in text and "0.2 torso diameters" in text
    assert "stage 2's confidence is a score of no fixed meaning" in text


def test_the_road_is_the_one_that_the_stages_take(run):
    folder, persons, _, _ = run
    stages = load_stages(folder / "checkpoints", persons, CPU)
    expected, sure = run_with_confidence(stages, persons, torch.arange(10))
    way = road(stages, persons, 4, False)
    for stage in (0, 1):
        assert np.abs(way.poses[stage] - expected[stage][4].numpy()).max() < 1e-2
        assert np.abs(way.confidences[stage] - sure[stage][4].numpy()).max() < 1e-3
    moved = np.flatnonzero(np.abs(way.poses[1] - way.poses[0]).max(1))
    assert list(way.refinements[0].windows) == moved.tolist() == [LSP.index("r_wrist"), LSP.index("neck")]
    look, (a, b) = way.refinements[0], LSP.diameter_indices
    assert look.side == look.length == pytest.approx(np.linalg.norm(way.poses[0][a] - way.poses[0][b]).clip(0.2 * 64))
    centre = torch.from_numpy(way.poses[0][[LSP.index("neck")]])
    window = sample_windows(persons.crops, torch.tensor([4]), make_windows(centre, torch.tensor([look.side])), 67, 1)
    assert np.abs(look.windows[LSP.index("neck")].astype(int) - as_stored(window, RGB)).max() <= 1
    # the box has 64 of the crop's 96 pixels, as many as the network sees: they are its middle
    assert np.abs(way.first.seen.astype(int) - persons.crops[4, 16:80, 16:80].numpy()).max() <= 1
    assert way.first.place(np.array([[16.0, 79.0]])) == pytest.approx(np.array([[0.0, 63.0]]))


def test_heatmaps_are_shares_of_their_peak(run):
    network = load_stages(run[0] / "checkpoints", run[1], CPU)[0].network.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        plain, output = heatmaps(network, images, LSP, False), network(images)[0].numpy()
        mirrored = heatmaps(network, images.flip(3), LSP, True)
        assert np.log(plain) == pytest.approx(output - output.max((1, 2), keepdims=True), abs=1e-4)
        # the flip test sees the same in an image and its mirror image
        assert mirrored == pytest.approx(heatmaps(network, images, LSP, True)[list(LSP.mirror), :, ::-1], abs=1e-4)
        assert heatmaps(CascadeNet(67, 0.05), torch.zeros(1, 3, 67, 67), LSP, False) is None


@pytest.mark.parametrize("best_epoch", [1, 0])
def test_a_stage_that_sees_the_person_again_has_one_window(run, tmp_path, best_epoch):
    folder, persons, _, _ = run
    shutil.copy(folder / "checkpoints/stage1.pt", tmp_path)
    torch.manual_seed(0)
    first = load_stages(tmp_path, persons, CPU)[0]
    network = begun_as(first.network)
    network.told.weight.data.normal_(0, 0.5)
    save_checkpoint(tmp_path / "stage2_shared.pt", {
        "kind": "pose_refiner", "network": network.arguments, "weights": network.state_dict(), "sigma": 1.25,
        "smallest_diameter": 0.2, "usual_side": 1.0, "flip_test": True, "refines": first.fingerprint, "settings": {},
        "dataset": "lsp", "skeleton": LSP.plain(), "pixels": RGB.plain(), "joint": "shared", "best_epoch": best_epoch,
        "upright": True, "agreement": 0.0, "input_size": 32, "history": []})
    stages = load_stages(tmp_path, persons, CPU)
    way = road(stages, persons, 2, False)
    text = str(report.report_persons.roads([("road-2", "it", "facts", way, None)], report_html.Pictures(64, 50), LSP,
                                           "").content)
    assert not way.refinements[0].windows and "Stage 2: the person again" in text
    assert "the pose is left as it is" in text if best_epoch == 0 else "what stage 2 sees" in text
    if best_epoch == 0:
        assert way.refinements[0].whole is None
        return
    look = way.refinements[0].whole
    assert look.seen.shape == (32, 32, 3) and look.maps.shape == (14, 8, 8)
    # the stage's joints are those that are read from the maps shown, in the window shown
    joints, _ = stages[1].network.joints(torch.from_numpy(look.maps)[None].clamp(min=1e-9).log())
    assert look.place(way.poses[1]) == pytest.approx((joints[0].numpy() + 0.5) * 32 - 0.5, abs=0.05)
    facts = training_facts(tmp_path)[2].facts
    assert facts["network"] == "pose_refiner, efficientnet_lite0" and "1.25 extents" in facts["sees"]


def test_depth_and_a_skeleton_without_limbs_have_a_road():
    torch.manual_seed(0)
    depth = Pixels(1, 16, (2000.0,), (900.0,))
    network = CascadeNet(67, 0.05, image_channels=1)

    class Coordinates(torch.nn.Module):
        loss_name = "mse"

        def forward(self, images):
            return torch.tensor([[[0.0, 0.1], [0.2, 0.3], [-0.2, 0.3], [0.4, 0.4]]]).expand(len(images), -1, -1)

        def joints(self, output):
            return output, None

    first = Stage1(Coordinates(), 32, False, False, "of stage 1", HORSE, depth, 48, 1.5)
    later = CascadeStage({1: (network, 0)}, 1.0, 0.2, 0.4, False, "of stage 1", "of stage 2", depth)
    crops = np.random.default_rng(0).integers(40000, 60000, (1, 48, 48, 1)).astype(np.uint16)
    way = road([first, later], LooseCrops(torch.from_numpy(crops.view(np.int16)), 1.5, depth, HORSE), 0, False)
    assert way.crop.dtype == np.uint16 and (way.crop == crops[0]).all() and way.first.maps is None
    assert way.refinements[0].windows[1].dtype == np.uint16
    truth = way.poses[0] + 1
    truth[3] = np.nan
    text = str(report.report_persons.roads([("road-0", "it", "facts", way, truth)], report_html.Pictures(64, 50),
                                           HORSE, "").content)
    assert "this network gives coordinates at once" in text and "no network for nose, l_hoof, tail" in text
    assert "half extents of the pose so far" in text and "nan" not in text


@pytest.mark.parametrize("large", [False, True])
def test_a_photographs_road_ends_where_predict_ends(tmp_path, large):
    photo = draw_figure(5, 1)[0]
    if large:  # a JPEG that is read reduced, until the person is seen in a corner of it
        side = max(photo.size)
        canvas = Image.new("RGB", (4 * side, 4 * side), photo.getpixel((0, 0)))
        canvas.paste(photo, (side // 3, side // 3))
        photo = canvas.resize((3200, 3200), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "a photo.jpg", quality=95)
    predict.main([str(tmp_path / "a photo.jpg"), "--out", str(tmp_path / "out"), "--threads", "1", "--no-overlays",
                  "--checkpoint-dir", str(predict.RELEASED)])
    told = json.loads((tmp_path / "out/predictions.json").read_text())["images"][0]["persons"][0]
    make(tmp_path, "--photos", tmp_path / "a photo.jpg", data="none", checkpoints=predict.RELEASED)
    text = " ".join(Page(tmp_path / "runs/report.html").section("roads").split())
    shown = re.search(r"x (-?[\d.]+), y (-?[\d.]+) with a side of ([\d.]+), which predict.py ends with", text)
    assert shown and "a photo.jpg" in text
    x, y, side = map(float, shown.groups())
    assert [x, y, x + side] == pytest.approx(told["box"][:3], abs=0.11)
    assert not large or side < 1600
    numbers = dict((joint, list(map(float, found))) for joint, *found in
                   re.findall(r"(\w+) (-?[\d.]+) (-?[\d.]+) (0\.\d+|1\.00)", text))
    found = np.array([numbers[joint] for joint in LSP.joints])  # crop pixels of 256, 1.5 boxes, and confidence
    joints = (found[:, :2] + 0.5) / 256 * side * 1.5 - 0.5 + (x - side / 4, y - side / 4)
    assert np.abs(joints - told["joints"]).max() < 0.01 * side
    assert found[:, 2] == pytest.approx(np.array(told["confidence"]), abs=0.03)


def test_scores_of_other_weights_than_those_that_are_there_are_told(run, tmp_path, capsys):
    folder, persons = run[:2]
    shutil.copytree(folder / "runs", tmp_path / "runs")
    path = tmp_path / "runs/stage2.json"
    stages = load_stages(folder / "checkpoints", persons, CPU)
    told = {f"stage {number}": stage.fingerprint for number, stage in enumerate(stages, 1)}
    for fingerprints, warned in ((told, ""), ({}, ""), (told | {"stage 2": "0" * 16}, "stage 2")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprints": fingerprints}))
        make(folder, "--out", tmp_path / "a.html", runs=tmp_path / "runs")
        scores, out = Page(tmp_path / "a.html").section("scores"), capsys.readouterr().out
        words = f"arning: the scores and the gallery are of other weights of {warned} than those in "
        assert (words in scores, words in out) == (bool(warned),) * 2
    assert "run: python test_stage2.py" in out


def test_copies_beside_the_networks_are_no_part_of_them(run, tmp_path):
    shutil.copytree(run[0] / "checkpoints", tmp_path / "copies")
    expected = training_facts(tmp_path / "copies")
    for name, copy in (("stage1.pt", "stage1_before.pt"), ("stage2_neck.pt", "stage2_neck_old.pt")):
        shutil.copy(tmp_path / "copies" / name, tmp_path / "copies" / copy)
    assert training_facts(tmp_path / "copies") == expected


def test_what_there_is_is_shown_and_what_is_not_is_said(run, tmp_path, capsys):
    folder = run[0]
    make(folder, "--out", tmp_path / "a.html", runs="none")
    page = Page(tmp_path / "a.html")
    assert "run: python test_stage1.py" in page.section("scores") and "Stage 2" in page.section("curves")
    assert "No confidence was tested" in page.section("reliability")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/stage1_training.csv").write_text("epoch,loss,pdj\n1,0.5,nan\n2,0.25,30.0\n")
    (tmp_path / "log/stage1_last.pt").touch()
    make(folder, "--out", tmp_path / "b.html", runs=tmp_path / "log", data="none", checkpoints=tmp_path / "log")
    page = Page(tmp_path / "b.html")
    assert "Begun and not finished: stage1." in page.section("training")
    assert "0.25" in page.section("curves") and "No finished training here" in page.section("training")
    make(folder, "--out", tmp_path / "c.html", checkpoints="none")
    assert "no trained stage 1 here" in Page(tmp_path / "c.html").section("roads")
    (tmp_path / "wrong/runs").mkdir(parents=True)
    capsys.readouterr()
    make(folder, "--out", tmp_path / "d.html", runs=tmp_path / "wrong", data="none")
    told = capsys.readouterr().out
    assert "wrong holds no test run, training log or predictions; did you mean --run-dir " in told
    assert re.search(r"written to .*d.html: \d+ kB", told)
    with pytest.raises(UserError, match="nothing to report: .* run: python train_stage1.py"):
        make(tmp_path, runs="none", data="none", checkpoints="none")
    assert not (tmp_path / "none").exists()


def test_predictions_of_another_run_are_left_out(run, tmp_path):
    folder, persons, poses, _ = run
    shutil.copytree(folder / "runs", tmp_path / "runs")
    arrays.save(tmp_path / "runs/stage1_predictions.npy", persons.truth, "predictions")
    arrays.save_json(tmp_path / "runs/stage1.json", score_persons(persons.truth, persons))
    make(folder, "--persons", "3", persons.dataset["test"]["image"][6], runs=tmp_path / "runs")
    page = Page(tmp_path / "runs/report.html")
    assert re.findall(r"Test person (\d+)", page.section("roads")) == ["3", "6"]
    assert "Stage 1's predictions score 100.0 where the test of all stages says" in page.section("scores")
    assert "Became better" not in page.section("gallery")


@pytest.mark.parametrize("name, content, message", [
    ("stage2.json", "{", "stage2.json can't be read .*not valid JSON.* run again: python test_stage2.py"),
    ("stage2.json", "{}", "stage2.json is not what test_stage2.py writes .it holds no scores"),
    ("stage2.json", '{"pck@0.2": {"mean": "much"}, "standard_error": {}, "persons": 3}', "its pck@0.2 is none"),
    ("stage2.json", '{"pck@0.2": {"mean": 3}, "persons": 3}', "lacks the standard errors"),
    ("stage2.json", '{"pck@0.2": {"neck": 3}, "standard_error": {}, "persons": 3}', "it lacks the mean of a score"),
    ("stage2.json", '{"pck@0.2": {"mean": 3}, "standard_error": {}, "persons": 3, "confidence": {"auroc": 1}}',
     "its confidence is none"),
    ("stage3_training.csv", "epoch,loss\n1,2,3\n", "stage3_training.csv can't be read"),
    ("stage3_training.csv", "a,b\n1,2\n", "it is no log of a training"),
    ("stage2_predictions.npy", "pose", "it is no .npy file"),
    ("report.html", "<p>my own page", "is there already and is no report; name another --out"),
])
def test_broken_files_are_told_in_a_line_and_the_page_stays(run, tmp_path, name, content, message):
    shutil.copytree(run[0] / "runs", tmp_path / "runs")
    (tmp_path / "runs" / name).write_text(content)
    before = (tmp_path / "runs/report.html").read_bytes()
    with pytest.raises(UserError, match=message) as found:
        make(run[0], runs=tmp_path / "runs")
    assert "\n" not in str(found.value)
    assert (tmp_path / "runs/report.html").read_bytes() == before and not list(tmp_path.glob("runs/*.part"))


def test_a_checkpoint_with_a_broken_log_is_told(run, tmp_path):
    shutil.copytree(run[0] / "checkpoints", tmp_path / "checkpoints")
    checkpoint = torch.load(tmp_path / "checkpoints/stage2_neck.pt", weights_only=True)
    save_checkpoint(tmp_path / "checkpoints/stage2_neck.pt", checkpoint | {"history": [{"epoch": 1, "loss": "low"}]})
    with pytest.raises(Failure, match="stage2_neck.pt is broken: its history"):
        make(run[0], checkpoints=tmp_path / "checkpoints")


def test_wrong_wishes_are_told_in_a_line(run, tmp_path):
    for flags, message in ((["--persons", "none.jpg"], "no test person 'none.jpg'; there are rows 0 ... 9"),
                           (["--persons", "10"], "no test person '10'"),
                           (["--photos", tmp_path / "no.jpg"], "no.jpg can't be used"),
                           (["--out", tmp_path], "is there already and is no report")):
        with pytest.raises(UserError, match=message):
            make(run[0], *flags)
    with pytest.raises(UserError, match="--persons needs the test persons"):
        make(run[0], "--persons", "3", data="none")
    with pytest.raises(UserError, match="holds no trained stage 1"):
        make(run[0], "--persons", "3", checkpoints="none")


def test_a_page_that_is_too_large_gets_smaller_pictures_or_is_not_written(run, tmp_path, monkeypatch):
    whole = (run[0] / "runs/report.html").stat().st_size
    monkeypatch.setattr(report, "LARGEST", whole - 1)
    make(run[0], "--shown", "2", "--out", tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < whole and "Median" in Page(tmp_path / "a.html").section("gallery")
    monkeypatch.setattr(report, "LARGEST", 10_000)
    with pytest.raises(Failure, match="the page would have 0.. MB; take a smaller --shown"):
        make(run[0], "--out", tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


@pytest.mark.parametrize("measure, named", [("pdj", "PDJ@0.2"), ("pck_box", "PCK@0.1 of the box")])
def test_a_later_stages_gain_is_drawn_by_whatever_it_is_measured(measure, named):
    rows = [{"joint": "neck", "epoch": epoch, "loss": 1 / epoch, measure: 50.0 + epoch, f"{measure}_before": 50.0}
            for epoch in (1, 2)]
    content = report_sections.curves({2: rows}).content
    assert f"points gained: validation persons&#x27; {named}, over the stage before" in content
    assert content.count('class="chart"') == 2


def test_names_do_no_harm():
    name = "<script>alert('a')</script>\"&\udce4.jpg"
    text = report_html.page("t", [report_html.section("s", name, report_html.element("p", name, title=name))], "m")
    assert "<script" not in text and text.encode("utf-8") and text.count("&lt;script&gt;alert") == 4


def test_charts():
    for low, high in ((0, 100), (0.013, 0.48), (-3, 7), (5, 5), (99.99, 100.01), (-1e-4, 2e5)):
        marks = report_charts.ticks(low, high)
        assert marks[0] <= low + 1e-6 * (high - low) and marks[-1] >= high - 1e-6 * (high - low)
        assert 2 <= len(marks) <= 8 and np.allclose(np.diff(marks), marks[1] - marks[0])
    for last, differences in ((80, [1, 1]), (-20, [10, 60])):  # where one has no logarithm the axis is plain
        chart = str(report_charts.lines("a chart", [(1, [1, 2, 3, 4, 5], [10, 20, np.nan, 40, last])], "x", "y",
                                        log=True))
        path = re.search(r'd="(M[^"]*)" class="series', chart)[1]
        assert path.count("M") == path.count("L") == 2  # the missing one parts the line
        heights = [float(place.split()[1]) for place in re.split("[ML]", path)[1:]]
        steps = np.abs(np.diff(heights))[[0, 2]]
        assert steps / steps[0] == pytest.approx(np.array(differences) / differences[0], rel=0.02)
    assert report_charts.lines("nothing", [(1, [1, 2], [np.nan, np.nan])], "x", "y") == ""
    bars = str(report_charts.shares("bars", [("a", [0.25, 0.75, 0, 0]), ("none", [np.nan] * 4)], KINDS))
    widths = [float(width) + 1 for width in re.findall(r'<rect [^>]*width="([\d.]+)"', bars)]
    assert len(widths) == 2 and widths[1] / widths[0] == pytest.approx(3, rel=0.01)


def test_texts_and_lines_stand_out_from_the_paper_in_light_and_dark():
    def luminance(colour):
        parts = np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    themes = re.findall(r":root \{(.*?)\}", report_html.STYLE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6});", theme))
        for name, least in {"ink": 7, "muted": 4.5, "link": 4.5, **{f"c{n}": 3 for n in range(6)}}.items():
            for ground in ("paper", "panel") if least > 3 else ("paper",):
                light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_narrow_and_wide(run, tmp_path, dark):
    shutil.copy(run[0] / "runs/report.html", tmp_path / "report.html")
    (tmp_path / "frames.html").write_text("""<body><script>
        const found = {};
        for (const width of [390, 1400]) {
          const frame = document.createElement("iframe");
          frame.style.cssText = `width:${width}px;height:900px;border:0`;
          frame.src = "report.html";
          frame.onload = () => {
            const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
            const empty = [...page.querySelectorAll("svg[role=img]")].filter(svg => {
              const box = svg.getBoundingClientRect();
              return !svg.closest("details") && (box.width < 80 || box.height < 80); });
            const layer = page.querySelector(".layer-truth");
            const shown = frame.contentWindow.getComputedStyle(layer).display;
            page.getElementById("show-truth").click();
            found[width] = {across: page.documentElement.scrollWidth, paper: style.backgroundColor, ink: style.color,
              empty: empty.length, scripts: page.scripts.length, shown,
              hidden: frame.contentWindow.getComputedStyle(layer).display,
              requests: frame.contentWindow.performance.getEntriesByType("resource").length};
            if (Object.keys(found).length === 2) document.body.textContent = JSON.stringify(found);
          };
          document.body.append(frame);
        }</script>""")
    out = subprocess.run([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                          f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
                          *["--blink-settings=preferredColorScheme=0"] * dark, (tmp_path / "frames.html").as_uri()],
                         capture_output=True, text=True, timeout=120).stdout
    found = json.loads(re.search(r"\{.*\}", html.unescape(out))[0])
    for width, page in found.items():
        assert page["across"] <= int(width), "it is wider than the window"
        assert page["empty"] == page["requests"] == page["scripts"] == 0
        assert page["shown"] != "none" and page["hidden"] == "none"
        bright = [sum(map(int, re.findall(r"\d+", page[name])[:3])) for name in ("paper", "ink")]
        assert (bright[0] < bright[1]) == dark
