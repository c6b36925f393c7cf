"""Write a run's trained stages as the project ships them: in half precision, without their logs, with their scores.

    python benchmarks/release.py --folder runs/lite-cascade --release-dir checkpoints/released

Reads   FOLDER/checkpoints/stage*.pt, FOLDER/data/test_*.npy
Writes  RELEASE_DIR/stage*.pt  with what they score on the test persons: stage 1 with and without the flip test
"""
import tempfile
from pathlib import Path

import torch
from publish import placed

from deeppose.checkpoints import halved, load_checkpoint, save_checkpoint
from deeppose.devices import choose_device
from deeppose.errors import UserError, run
from deeppose.persons import load_persons
from deeppose.reports import score
from deeppose.settings import parse_settings
from networks.trained_stages import load_stages, run_stages

FOLDER = "runs/lite-cascade"            # of the run: holds checkpoints/ and data/
RELEASE_DIR = "checkpoints/released"    # where the stages go
DEVICE = "auto"                         # auto, cpu, cuda, cuda:1, mps
HEADLINES = (("pck@0.2", "mean"), ("pck@0.2", "mean12"), ("pckh@0.5", "mean"), ("pcp_strict@0.5", "mean10"),
             ("pcp_strict@0.5", "mean8"))


def main(argv=None):
    settings = parse_settings(globals(), argv)
    release(Path(settings.folder), Path(settings.release_dir), settings.device)


def release(folder, release_dir, device):
    """Raises UserError where a later stage was trained on the output of other weights than those in half precision."""
    paths = [path for path in sorted(Path(folder, "checkpoints").glob("stage*.pt")) if not path.stem.endswith("_last")]
    checkpoints = {}
    for path in paths:
        content = placed(load_checkpoint(path, "python train_stage1.py"), str(folder.resolve().parent), "runs")
        checkpoints[path.name] = content | {"weights": halved(content["weights"]), "history": []}
    if "stage1.pt" not in checkpoints:
        raise UserError(f"{folder.resolve()} holds no checkpoints/stage1.pt; run: python train_stage1.py")
    persons = load_persons(folder / "data", "test", choose_device(device))
    with tempfile.TemporaryDirectory() as trial:
        write(Path(trial), checkpoints)
        stages = load_stages(trial, persons, persons.device)
    for number, (before, stage) in enumerate(zip(stages, stages[1:]), 2):
        if stage.refines != before.fingerprint:
            raise UserError(f"stage {number} was trained on the output of other weights than stage {number - 1} has in "
                            f"half precision; release stage {number - 1} first, and train on the output of that file")
    rows = torch.arange(len(persons.crops), device=persons.device)
    scores = {"stage 1": {"plain": scored(stages[0].predict(persons, rows), persons)}}
    flip_test = len(stages) == 1 or stages[1].flip_test
    poses = run_stages(stages, persons, rows) if len(stages) > 1 else [stages[0].predict(persons, rows, True)]
    for number, pose in enumerate(poses, 1):
        scores.setdefault(f"stage {number}", {})["flip test" if flip_test else "plain"] = scored(pose, persons)
    for name, content in checkpoints.items():
        content["scores"] = scores[f"stage {name.removeprefix('stage').split('_')[0].removesuffix('.pt')}"]
    write(release_dir, checkpoints)
    for stage, kinds in scores.items():
        for kind, own in kinds.items():
            print(f"{stage}, {kind}: " + ", ".join(f"{name} {value:.1f}" for name, value in own.items()))
    print(f"written: {', '.join(str(release_dir / name) for name in checkpoints)}")


def write(folder, checkpoints):
    for name, content in checkpoints.items():
        save_checkpoint(folder / name, content)


def scored(pose, persons):
    full = score(pose.cpu().numpy(), persons.truth, persons.head_sizes, persons.skeleton)
    return {f"{metric}_{mean}": full[metric][mean] for metric, mean in HEADLINES}


if __name__ == "__main__":
    run(main)
