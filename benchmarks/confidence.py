"""Whether a model's confidence is calibrated where nobody fitted it: LSP's test persons, pictures cut, nobody there.

Reads   LSP's raw archive in RAW_DIR, the arrays that lsp_data.py made of it in DATA_DIR, the stages in
        CHECKPOINT_DIR as calibrate.py leaves them
Writes  RESULT_DIR/confidence.json

Test persons: stage 1's own confidence and the calibrated one, as test_stage1.py has them, with the flip test and
without; all stages'; and as predict.py has them, which searches a picture where it is in doubt and looks twice. Cut
pictures: photographs of some of them ending between hips and knees, at the hips, or between shoulders and head; joints
that were cut off have a place beyond the picture, where none can be seen. Nobody: backgrounds of the drawn figures,
without a figure. Both by one look at the whole picture, and as predict.py looks.
"""
import io

import numpy as np
import torch
from lsp_run import lsp_data  # importing it puts the project's folder on Python's path
from PIL import Image

from deeppose import archives, arrays
from deeppose.calibration import TOLERANCE
from deeppose.claims import claimed
from deeppose.devices import Stopwatch, choose_device
from deeppose.errors import UserError, run
from deeppose.metrics import diameters, joint_hits
from deeppose.persons import load_persons
from deeppose.photos import Photo
from deeppose.reliability import confidence_scores
from deeppose.reports import provenance
from deeppose.settings import parse_settings
from figures.scenery import background, photograph
from networks.posing import Posing
from networks.trained_stages import calibration_of, flip_test_of, load_stages, run_with_confidence

RAW_DIR = "data/raw"            # holds lsp_dataset.zip
DATA_DIR = "data"               # what lsp_data.py made of it
CHECKPOINT_DIR = "checkpoints/released"  # holds stage1.pt, and later stages
RESULT_DIR = "results"          # where confidence.json goes
SEED = 0                        # 0 ... 4294967295: of the backgrounds
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
CUT = 300                       # 1 ... 1000: test persons whose pictures are cut
BACKGROUNDS = 200               # 1 ... 100000: pictures of nobody

# where a picture ends: at a share of the way from some joints to others
CUTS = {"between hips and knees": (("r_hip", "l_hip"), ("r_knee", "l_knee"), 0.5),
        "at the hips": (("r_hip", "l_hip"), ("r_knee", "l_knee"), 0.0),
        "between shoulders and head": (("r_shoulder", "l_shoulder"), ("head_top",), 0.4)}
# image pixels: a picture that is cut smaller is left out
SMALLEST = 24


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.result_dir, "results"):
        watch, device = Stopwatch(), choose_device(settings.device)
        persons = load_persons(settings.data_dir, "test", device)
        stages = load_stages(settings.checkpoint_dir, persons, device)
        flip_test = flip_test_of(stages, True)
        if not all(calibration_of(stages[:count], flip_test) for count in range(1, len(stages) + 1)):
            raise UserError(f"the stages in {settings.checkpoint_dir} are not all calibrated; run: python calibrate.py")
        posing = {"one look": Posing(stages, device, passes=1, doubt=0), "predict.py": Posing(stages, device)}
        photos, truth = photographs(settings.raw_dir, persons)
        content = {"what": "a confidence beside what became of it", "test persons": prepared(stages, persons),
                   "predict.py": in_photographs(posing["predict.py"], photos, truth),
                   "cut pictures": {name: cut_pictures(posing, photos[:settings.cut], truth, *cut)
                                    for name, cut in CUTS.items()},
                   "nobody": nobody(posing, settings.backgrounds, settings.seed),
                   **provenance(settings, watch.seconds, device)}
        arrays.save_json(f"{settings.result_dir}/confidence.json", content)
    for name, found in (*content["test persons"].items(), ("predict.py", content["predict.py"])):
        print(f"{name:24} calibration error {found['calibration_error']['all']:.1f}, worst {found['worst_joint']} "
              f"{found['calibration_error'][found['worst_joint']]:.1f}, Brier {found['brier']:.3f}, AUROC "
              f"{found['auroc']:.3f}, surest 50% right {found['surest_50%']:.1f}, 80% {found['surest_80%']:.1f}")
    for name, looks in (*content["cut pictures"].items(), ("nobody", content["nobody"])):
        print(name, looks)
    print(f"written: {settings.result_dir}/confidence.json")


def prepared(stages, persons):
    """Scores of prepared test persons, as test_stage1.py has them."""
    found, truth, rows = {}, persons.truth, torch.arange(len(persons.crops), device=persons.device)
    spans, names = diameters(truth, persons.skeleton), persons.skeleton.joints

    def add(name, confidence, pose):
        hits = joint_hits(pose.cpu().numpy(), truth, spans, TOLERANCE)
        found[name] = confidence_scores(confidence.cpu().double().numpy(), hits, names, True)

    for flip_test in (False, True):
        name = "flip test" if flip_test else "no flip test"
        own = stages[0].predict_with_confidence(persons, rows, flip_test)[1]
        poses, confidences = run_with_confidence(stages[:1], persons, rows, flip_test)
        for kind, confidence in (("its own", own), ("calibrated", confidences[0])):
            add(f"{name}, {kind}", confidence, poses[0])
    if len(stages) > 1:
        poses, confidences = run_with_confidence(stages, persons, rows)
        add("all stages, calibrated", confidences[-1], poses[-1])
    return found


def photographs(raw_dir, persons):
    """The test persons' photographs, PIL images, and true joints (N, J, 2), image pixels."""
    data = lsp_data.find(raw_dir, "lsp")
    numbers = [int("".join(filter(str.isdigit, name))) for name in persons.dataset["test"]["image"]]
    with archives.opened(data.path) as read:
        images = [Image.open(io.BytesIO(read(data.members[number]))).convert("RGB") for number in numbers]
    return images, data.joints[np.array(numbers) - 1]


def find(posing, images):
    """Joints (N, J, 2), image pixels, and confidence (N, J), of the one person in each image."""
    poses = posing.find([Photo(image, image.size) for image in images], [None] * len(images))
    return np.concatenate([found.joints for found in poses]), np.concatenate([found.confidence for found in poses])


def in_photographs(posing, images, truth):
    joints, confidence = find(posing, images)
    skeleton = posing.first.skeleton
    return confidence_scores(confidence, joint_hits(joints, truth, diameters(truth, skeleton), TOLERANCE),
                             skeleton.joints, True)


def cut_pictures(posing, images, truth, inner, outer, share):
    """What is said of joints beyond the edge of cut pictures, and of those within. inner, outer, share: see CUTS."""
    skeleton, cut, moved, sizes = posing["one look"].first.skeleton, [], [], []
    for image, joints in zip(images, truth):
        start, end = (joints[list(map(skeleton.index, names))].mean(0) for names in (inner, outer))
        axis = int(np.abs((end - start)[1]) >= np.abs((end - start)[0]))  # the picture ends across the nearer axis
        place = round((start + share * (end - start))[axis] + 0.5)
        edges = [[0, 0], list(image.size)]
        edges[int(end[axis] > start[axis])][axis] = place
        size = np.subtract(edges[1], edges[0])
        if size.min() >= SMALLEST and 0 < place < image.size[axis]:
            cut.append(image.crop((*edges[0], *edges[1])))
            moved.append(joints - edges[0])
            sizes.append(size)
    moved, sizes = np.array(moved), np.array(sizes)[:, None]
    beyond = ((moved < -0.5) | (moved > sizes - 0.5)).any(-1)
    found = {"pictures": len(cut), "joints beyond": int(beyond.sum())}
    for looks, by in posing.items():
        joints, confidence = find(by, cut)
        hits = joint_hits(joints, moved, diameters(moved, skeleton), TOLERANCE)
        found[looks] = {
            "beyond": summary(confidence[beyond]) | {"right": float(np.nanmean(hits[beyond]))},
            "within": summary(confidence[~beyond]) | {"right": float(np.nanmean(hits[~beyond]))}}
    return found


def nobody(posing, count, seed):
    """What is said of drawn backgrounds, where every joint is wrong."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        size = generator.integers((90, 120), (200, 240))
        pixels = background(generator, size, 1).clip(0, 255).astype(np.uint8)
        images.append(photograph(generator, Image.fromarray(pixels)))
    return {looks: summary(find(by, images)[1]) for looks, by in posing.items()}


def summary(confidence):
    return {"median": float(np.median(confidence)), "mean": float(confidence.mean()),
            "over 0.5": float((confidence > 0.5).mean())}


if __name__ == "__main__":
    run(main)
