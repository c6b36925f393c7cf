"""At size: step 1 of every data set, and training from its arrays, for few persons and for very many.

Drawn images are linked under as many names as are needed, and their annotations repeated.
"""
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from memory import PeakMemory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deeppose.devices import Stopwatch  # noqa: E402
from deeppose.errors import Failure  # noqa: E402
from deeppose.stored_crops import in_bytes  # noqa: E402
from figures import coco, k2hpd, lip, mpii  # noqa: E402

DRAWN, TESTED = 300, 60       # images drawn of each data set, and of them test images
FEW = 2000                    # persons that the many are compared with
CROP_SIZE = 64                # side of the stored crops, pixels
# of a data set's step 1; the repeated photographs are near duplicates, which are not looked for among 100,000
FLAGS = {"coco": ["--test", "test.json", "--duplicates-up-to", 0]}
# by the processor's own time, which other programs change little
RATES = ("step 1, persons a core second", "training, persons a core second")


def measure_size(folder, data_sets, persons, seed, publish):
    """Rates and peak memory of step 1 and of training from its arrays, for FEW persons and for `persons`.

    folder     Path, for raw data and arrays
    data_sets  names in LAYOUTS; all if empty
    publish    function of data set -> figures, called as each is measured
    Raises     Failure where the disk has not the room
    """
    needed = CROP_SIZE ** 2 * 3 * persons + 20_000 * persons  # crops, and links and annotations
    free = shutil.disk_usage(folder).free
    print(f"at size: up to {in_bytes(needed)} of the disk for {persons:,} persons; {in_bytes(free)} are free in "
          f"{folder}", flush=True)
    if needed > free:
        raise Failure(f"{folder} has {in_bytes(free)} free and {in_bytes(needed)} are needed; choose a smaller "
                      "--size-persons, or another folder by TMPDIR")
    figures = {}
    for name in data_sets or LAYOUTS:
        draw, multiply = LAYOUTS[name]
        more = {"mpii": {"form": "list"}}.get(name, {})
        drawn = folder / "drawn" / name
        draw.write(drawn, DRAWN, seed, test=TESTED, **more)
        figures[name] = {}
        for count in (FEW, persons):
            raw = folder / "raw" / name
            multiply(drawn, raw, count)
            # so many passes over few persons that the start counts for as little as with the many
            passes = max(1, round(min(persons, 10 * FEW) / count))
            figures[name] |= {f"{count} {key}": value
                              for key, value in _measured(name, folder, raw.parent, passes).items()}
            shutil.rmtree(raw)
        for rate in RATES:
            figures[name][f"{rate}, times as many"] = figures[name][f"{persons} {rate}"] \
                / figures[name][f"{FEW} {rate}"]
        publish(figures)


def _measured(name, folder, raw, passes):
    """Step 1 and training from its arrays, each a process of its own."""
    data = folder / "data"
    places = ["--data-dir", data, "--run-dir", folder / "runs"]
    step1 = _run([f"{name}_data.py", "--raw-dir", raw, *places, "--crop-size", CROP_SIZE, *FLAGS.get(name, [])])
    count = sum(len(np.load(data / f"{split}_boxes.npy", mmap_mode="r")) for split in ("train", "test"))
    trained = int((np.load(data / "train_split.npy") == 0).sum())
    training = _run(["train_stage1.py", *places, "--checkpoint-dir", folder / "checkpoints", "--restart", "--epochs",
                     passes, "--backbone", "efficientnet_lite0", "--weights", "none", "--input-size", 32,
                     "--batch-size", 64, "--device", "cpu"])
    shutil.rmtree(data)
    return {"persons prepared": count, "persons trained on": trained, RATES[0]: count / step1["core seconds"],
            RATES[1]: passes * trained / training["core seconds"],
            **{f"{title}, {key}": value for title, figures in (("step 1", step1), ("training", training))
               for key, value in figures.items()}}


def _run(command):
    """A process to its end: what it and its children took."""
    before, watch = resource.getrusage(resource.RUSAGE_CHILDREN), Stopwatch()
    step = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL)
    with PeakMemory(step.pid) as memory:
        if step.wait():
            raise RuntimeError(f"{command[0]} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": watch.seconds, "core seconds": sum(after[:2]) - sum(before[:2]),
            "own peak MB": memory.own_mb, "peak with mapped files MB": memory.host_mb}


def _linked(source, target, names, turn):
    """Link each of names in a folder under its name of this turn."""
    for name in names:
        path = target / turn(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, path)


def _times(lines, count):
    """`count` pairs of the turn and the line, the lines over and over in their order."""
    return ((place // len(lines), lines[place % len(lines)]) for place in range(count))


def _k2hpd(drawn, raw, count):
    for file, share in (("train_annos.txt", 0.9), ("test_annos.txt", 0.1)):
        lines = [line.replace("\0", "") for line in (drawn / file).read_text().splitlines()]
        raw.mkdir(parents=True, exist_ok=True)
        with open(raw / file, "w") as out:
            for turn, line in _times(lines, round(count * share)):
                name, points = line.split(" ", 1)
                _linked(drawn / "depth_data", raw / "depth_data", [name], lambda it, turn=turn: f"{turn:05d}{it}")
                out.write(f"{turn:05d}{name} {points}\n")


def _lip(drawn, raw, count):
    for side, share in (("train", 0.9), ("val", 0.1)):
        lines = (drawn / f"lip_{side}_set.csv").read_text().splitlines()
        raw.mkdir(parents=True, exist_ok=True)
        with open(raw / f"lip_{side}_set.csv", "w") as out:
            for turn, line in _times(lines, round(count * share)):
                name, points = line.split(",", 1)
                _linked(drawn / f"{side}_images", raw / f"{side}_images", [name],
                        lambda it, turn=turn: f"{turn + 1}00{it}")
                out.write(f"{turn + 1}00{name},{points}\n")


def _mpii(drawn, raw, count):
    persons = json.loads((drawn / "mpii_annotations.json").read_text())
    raw.mkdir(parents=True, exist_ok=True)
    with open(raw / "mpii_annotations.json", "w") as out:
        for number, (turn, person) in enumerate(_times(persons, count)):
            name = f"{turn:05d}{person['img_paths']}"
            if not (raw / "images" / name).exists():
                _linked(drawn / "images", raw / "images", [person["img_paths"]],
                        lambda it, turn=turn: f"{turn:05d}{it}")
            out.write((", " if number else "[") + json.dumps(person | {"img_paths": name}))
        out.write("]")


def _coco(drawn, raw, count):
    raw.mkdir(parents=True, exist_ok=True)
    for side, share in (("train", 0.9), ("test", 0.1)):
        content = json.loads((drawn / f"{side}.json").read_text())
        turns = -(-round(count * share) // len(content["annotations"]))
        images, annotations = content["images"], content["annotations"]
        content |= {"images": [], "annotations": []}
        for turn in range(turns):
            shift = (turn + 1) * 10 ** 7
            _linked(drawn / "images", raw / "images", [image["file_name"] for image in images],
                    lambda it, turn=turn: f"{turn:05d}{it}")
            content["images"] += [image | {"id": image["id"] + shift, "file_name": f"{turn:05d}{image['file_name']}"}
                                  for image in images]
            content["annotations"] += [own | {"id": own["id"] + 10 * shift, "image_id": own["image_id"] + shift}
                                       for own in annotations]
        (raw / f"{side}.json").write_text(json.dumps(content))


LAYOUTS = {"k2hpd": (k2hpd, _k2hpd), "lip": (lip, _lip), "mpii": (mpii, _mpii), "coco": (coco, _coco)}
