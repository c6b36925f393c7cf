"""Skeletons that nobody has heard of, and images of one channel and sixteen bits, through all six scripts."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

import generate_train_output
import test_stage1 as step3
import test_stage2 as step6
import train_stage1
import train_stage2
from deeppose import stored_crops
from deeppose.preparing import hold_out, originals, save_picture, survey, write
from deeppose.raw_persons import RawPersons, objects
from deeppose.skeletons import Skeleton
from tests import narrow
from tests.interruption import interrupt

SKELETONS = {
    "three joints and nothing else": Skeleton(("nose", "tail", "hump")),
    "a hand of sixty joints": Skeleton(tuple(f"{side}_{number}" for side in ("r", "l") for number in range(30)),
                                       limbs={"r": (("r_0",), ("r_1",)), "l": (("l_0",), ("l_1",))},
                                       pairs=tuple((f"r_{number}", f"l_{number}") for number in range(30))),
}
FOLDERS = (("DATA_DIR", "data"), ("CHECKPOINT_DIR", "checkpoints"), ("RUN_DIR", "runs"))


def step(script, folder, *flags):
    places = [word for name, place in FOLDERS if hasattr(script, name)
              for word in ("--" + name.lower().replace("_", "-"), str(folder / place))]
    script.main([*places, "--device", "cpu", *flags])


def prepare(folder, skeleton, bits, count=30):
    """Images with a light square at each joint, some joints missing; the last ten test."""
    generator, size = np.random.default_rng(0), 48
    joints = generator.uniform(8, size - 8, (count, len(skeleton.joints), 2))
    (folder / "raw").mkdir()
    for number, own in enumerate(joints):
        image = np.full((size, size), 0.2)
        for x, y in own.round().astype(int):
            image[y - 2:y + 3, x - 2:x + 3] = 0.9
        image = (image * (2 ** bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
        Image.fromarray(image).save(folder / "raw" / f"{number}.png")
    joints[3, 0] = np.nan
    persons = RawPersons(np.full(count, "own"), objects([str(folder / "raw")] * count),
                         objects([f"{number}.png" for number in range(count)]),
                         objects([f"{number}.png" for number in range(count)]), joints, np.arange(count) >= 20,
                         np.full((count, 3), np.nan), np.full(count, np.nan), np.zeros(count, int))
    found = survey(persons, skeleton, 0.0, map, channels=1)
    persons = found.persons
    persons.boxes = stored_crops.image_boxes(persons.sizes)
    held_out = hold_out(persons, np.arange(count), 0.3, generator)
    splits = {"train": originals(np.flatnonzero(~persons.test), persons.boxes),
              "test": originals(np.flatnonzero(persons.test), persons.boxes)}
    write(folder / "data", persons, splits, held_out, skeleton, found.pixels, 48, 1.5, map, np.arange(count),
          dataset="own", prepare="python own_data.py", box="the whole image squared")
    save_picture(folder / "runs", folder / "data", persons, splits, skeleton)
    return found.pixels


@pytest.mark.parametrize("name, bits, network", [("three joints and nothing else", 16, "regression"),
                                                 ("a hand of sixty joints", 8, "integral")])
@pytest.mark.filterwarnings("error")
def test_any_skeleton_passes_through_all_six_scripts(tmp_path, capsys, name, bits, network):
    skeleton = SKELETONS[name]
    pixels = prepare(tmp_path, skeleton, bits)
    assert (pixels.channels, pixels.bits) == (1, bits)
    assert np.load(tmp_path / "data/train_images.npy").dtype == (np.uint16 if bits == 16 else np.uint8)
    step(train_stage1, tmp_path, "--network", network, "--backbone", narrow.NAME, "--weights", "none", "--input-size",
         "32", "--batch-size", "8", "--epochs", "1")
    step(step3, tmp_path, "--flip-test")
    step(generate_train_output, tmp_path)
    step(train_stage2, tmp_path, "--crop-size", "67", "--width", "0.02", "--crops-per-image", "1", "--epochs", "1",
         "--shared-network", "--sigma", "1")
    step(step6, tmp_path)
    checkpoint = torch.load(tmp_path / "checkpoints/stage1.pt", weights_only=True)
    assert checkpoint["skeleton"] == skeleton.plain() and checkpoint["pixels"] == pixels.plain()
    scores = json.loads((tmp_path / "runs/stage2.json").read_text())
    assert "pdj" not in scores and "pck@0.2" not in scores and "pckh@0.5" not in scores
    assert "pck_box@0.1" in scores
    assert ("pcp_strict@0.5" in scores) == bool(skeleton.limbs)
    assert "left out" in capsys.readouterr().out


def test_a_stage_that_an_older_version_began_without_a_torso_goes_on(tmp_path, monkeypatch):
    prepare(tmp_path, SKELETONS["three joints and nothing else"], 8)
    step(train_stage1, tmp_path, "--network", "integral", "--backbone", "efficientnet_lite0", "--weights", "none",
         "--input-size", "32", "--epochs", "1", "--batch-size", "8", "--loss", "smooth_l1")
    step(generate_train_output, tmp_path)
    flags = ["--crop-size", "67", "--width", "0.02", "--crops-per-image", "1", "--epochs", "2", "--shared-network"]
    begun = interrupt(monkeypatch, train_stage2, epoch=2)
    with pytest.raises(KeyboardInterrupt):
        step(train_stage2, tmp_path, *flags)
    last = tmp_path / "checkpoints/stage2_shared_last.pt"
    state = torch.load(last, weights_only=True)
    state["history"] = [{name.replace("pck_box", "pdj"): value for name, value in row.items()}
                        for row in state["history"]]
    torch.save(state, last)
    step(train_stage2, tmp_path, *flags)
    first, second = torch.load(tmp_path / "checkpoints/stage2_shared.pt", weights_only=True)["history"]
    assert "pdj_area" in first and "pck_box_area" in second and len(begun) == 3
