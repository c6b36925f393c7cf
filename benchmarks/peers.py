"""The shipped model beside what people use now: MediaPipe's pose model, on the same photographs and the same cores.

Both go from LSP's 1,000 test photographs, whole as published, to joints, on all cores, in turns: a block of photographs
by one, the same block by the next. Scored are the twelve joints that both have, all but neck and head top; whom
MediaPipe misses counts as wrong. Reading is timed, loading is not. The shipped model was trained on LSP's and LSPe's
training persons, MediaPipe's on others, with hips and shoulders of its own: PDJ at 0.5 asks less of where they lie.

Reads   data/raw/lsp_dataset(.zip), the shipped model
Writes  results/peers.json  images a second, milliseconds of a core an image, PCK@0.2, PDJ at 0.5 and strict PCP in
                            percent, persons missed, hardware, commit
        runs/peers/         an environment with MediaPipe, 1 GB, which stays
"""
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lsp_run import lsp_data  # importing it puts the project's folder on Python's path
from tqdm import tqdm

import predict
from deeppose import archives, arrays
from deeppose.devices import Stopwatch
from deeppose.errors import Failure, run
from deeppose.inputs import Input
from deeppose.metrics import diameters, joint_hits, limb_hits, overall_mean, part_means, standard_error
from deeppose.parallel import usable_cores
from deeppose.reports import provenance
from deeppose.settings import parse_settings

RAW_DIR = "data/raw"      # holds lsp_dataset.zip
WORK_DIR = "runs/peers"   # for MediaPipe's environment
RESULT_DIR = "results"    # where peers.json goes
PHOTOGRAPHS = 1000        # 1 ... 1000: of LSP's test photographs
BLOCK = 125               # 1 ... 1000: photographs a turn
COMPLEXITIES: tuple[int, ...] = (1,)  # 0 ... 2: MediaPipe's models; its package holds 1, it downloads the others

# the last that holds the model; for Python 3.9 to 3.12
PACKAGE = "mediapipe==0.10.21"
QUICK = ["--stages", "1", "--passes", "1", "--doubt", "0", "--no-flip-test"]
OURS = {"predict.py": [], "stage 1 alone": ["--stages", "1"], "one look of stage 1, no flip test": QUICK,
        "the same, bfloat16": [*QUICK, "--bfloat16"]}
LANDMARKS = {"r_ankle": 28, "r_knee": 26, "r_hip": 24, "l_hip": 23, "l_knee": 25, "l_ankle": 27, "r_wrist": 16,
             "r_elbow": 14, "r_shoulder": 12, "l_shoulder": 11, "l_elbow": 13, "l_wrist": 15}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    torch.set_num_threads(1)  # as predict.py has it, which works on several batches at a time
    watch, python = Stopwatch(), environment(Path(settings.work_dir))
    raw = lsp_data.find(settings.raw_dir, "lsp")
    numbers = range(1001, 1001 + settings.photographs)
    truth = raw.joints[[number - 1 for number in numbers]]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        paths = [os.path.join(folder, f"{number}.jpg") for number in numbers]
        with archives.opened(raw.path) as read:
            for number, path in zip(numbers, paths):
                Path(path).write_bytes(read(raw.members[number]))
        sides = {name: Ours(flags) for name, flags in OURS.items()}
        skeleton = sides["predict.py"].posing.first.skeleton
        sides |= {f"MediaPipe, complexity {each}": stack.enter_context(MediaPipe(python, each, skeleton))
                  for each in settings.complexities}
        found = {name: [] for name in sides}
        blocks = [paths[start:start + settings.block] for start in range(0, len(paths), settings.block)]
        for block in tqdm([paths[:16], *blocks], unit="block", leave=False, disable=None):  # the first one warms up
            for name, side in sides.items():
                found[name].append(timed(side, block))
    poses = {name: np.concatenate([turn[0] for turn in turns[1:]]) for name, turns in found.items()}
    missed = {name: np.isnan(each[:, list(skeleton.limb_indices)]).all((1, 2)) for name, each in poses.items()}
    seen = ~np.any(list(missed.values()), axis=0)
    counts = list(map(len, blocks))
    content = {name: rates(counts, [turn[1:] for turn in turns[1:]]) | scores(poses[name], truth, skeleton, seen)
               | {"missed": int(missed[name].sum()), "persons": len(truth), "persons whom all find": int(seen.sum())}
               for name, turns in found.items()}
    first = content["predict.py"]
    for name, each in content.items():
        each["times as fast as predict.py"] = median(a / b for a, b in zip(each["turns, images a second"],
                                                                           first["turns, images a second"]))
        print(f"{name:33} {each['images a second']:6.1f} images/s, {each['milliseconds of a core']:5.1f} ms of a core; "
              f"PCK@0.2 {each['pck@0.2']:.1f} ± {each['pck@0.2, error']:.1f}, PDJ at 0.5 {each['pdj 0.50']:.1f}, PCP "
              f"{each['pcp_strict@0.5']:.1f} ± {each['pcp_strict@0.5, error']:.1f}; missed {each['missed']}; of whom "
              f"all find {each['pck@0.2, of whom all find']:.1f} and {each['pcp_strict@0.5, of whom all find']:.1f}")
    path = Path(settings.result_dir, "peers.json")
    arrays.save_json(path, {"what": "predict.py and MediaPipe on LSP's test photographs, twelve joints, percent",
                            "peer": PACKAGE, "systems": content, **provenance(settings, watch.seconds)})
    print(f"written: {path}")


def environment(folder):
    """Python of an environment that has MediaPipe, which is made where there is none. Raises Failure."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / PACKAGE).exists():
        print(f"installing {PACKAGE} in {folder}", flush=True)
        for command in ([sys.executable, "-m", "venv", "--clear", folder],
                        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"{PACKAGE} can't be installed in {folder.resolve()}: "
                              f"{(done.stderr.strip().splitlines() or ['?'])[-1]}; run this by Python 3.11 or 3.12")
        (folder / PACKAGE).touch()
    return python


class Ours:
    """predict.py with some flags: (paths) -> poses (N, J, 2)."""

    def __init__(self, flags):
        self.settings = parse_settings(vars(predict), [*flags, "--no-overlays", "--device", "cpu", "-"],
                                       ("paths", "+", ""))
        device = torch.device("cpu")
        self.posing = predict.posing_of(
            self.settings, predict.load_model(self.settings, device)[0], device)
        self.aim = predict.aiming(self.settings, self.posing, predict.given_boxes(self.settings, []))

    def __call__(self, paths):
        begun = time.process_time()
        found = predict.in_photos([Input(path, "", False) for path in paths], self.aim, self.posing, self.settings,
                                  tqdm(disable=True))
        poses = np.concatenate([each.joints for each in found])
        return poses, time.process_time() - begun


class MediaPipe:
    """MediaPipe's pose model in a process for each core: (paths) -> poses (N, J, 2), NaN what it lacks."""

    def __init__(self, python, complexity, skeleton):
        self.command = [python, Path(__file__).with_name("peers_mediapipe.py"), str(complexity)]
        self.places = {skeleton.index(joint): landmark for joint, landmark in LANDMARKS.items()}
        self.joints = len(skeleton.joints)

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.workers = [subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                         text=True) for _ in range(usable_cores())]
        try:
            for worker in self.workers:
                self._answer(worker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for worker in self.workers:
            worker.kill()
            worker.communicate()
        self.log.close()

    def __call__(self, paths):
        count = len(self.workers)
        for number, worker in enumerate(self.workers):
            worker.stdin.write(json.dumps(paths[number::count]) + "\n")
            worker.stdin.flush()
        poses, seconds = np.full((len(paths), self.joints, 2), np.nan), 0.0
        for number, worker in enumerate(self.workers):
            answer = self._answer(worker)
            seconds += answer["seconds"]
            for row, landmarks in zip(range(number, len(paths), count), answer["poses"], strict=True):
                if landmarks is not None:
                    poses[row, list(self.places)] = np.array(landmarks)[list(self.places.values())]
        return poses, seconds

    def _answer(self, worker):
        if not (line := worker.stdout.readline()):
            self.log.seek(0)
            told = (self.log.read().strip().splitlines() or ["?"])[-1]
            raise Failure(f"MediaPipe ended: {told}; --complexities must be some that it has or can download; else "
                          "remove --work-dir, and run again")
        return json.loads(line)


def timed(side, paths):
    """Poses, seconds, and seconds of a core that a side takes."""
    begun = time.perf_counter()
    poses, cores = side(paths)
    return poses, time.perf_counter() - begun, cores


def rates(counts, taken):
    """Of one side's turns: photographs of each, and (seconds, seconds of a core)."""
    seconds, cores = zip(*taken)
    return {"images a second": sum(counts) / sum(seconds), "milliseconds of a core": 1000 * sum(cores) / sum(counts),
            "turns, images a second": [count / each for count, each in zip(counts, seconds)]}


def scores(poses, truth, skeleton, seen):
    """Percent of all persons (N, J, 2), with standard errors, and of those whom all sides find, seen (N,) bool."""
    spans, joints = diameters(truth, skeleton), list(skeleton.limb_indices)
    hits = {"pck@0.2": joint_hits(poses, truth, spans, 0.2)[:, joints],
            "pdj 0.50": joint_hits(poses, truth, spans, 0.5)[:, joints],
            "pcp_strict@0.5": limb_hits(poses, truth, skeleton)[:, skeleton.paper_limb_indices]}
    found = {}
    for name, each in hits.items():
        found |= {name: 100 * overall_mean(each), f"{name}, error": 100 * standard_error(each),
                  f"{name}, of whom all find": 100 * overall_mean(each[seen])}
    names = [skeleton.joints[joint] for joint in joints]
    return found | {"pck@0.2, joints": dict(zip(names, (100 * part_means(hits["pck@0.2"])).tolist()))}


if __name__ == "__main__":
    run(main)
