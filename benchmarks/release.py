"""Write a run's trained stages as the project ships them: in half precision, without their logs, with their scores.

    python benchmarks/release.py --folder runs/lite --stages 1 --release-dir runs/lite/released
Later stages learn from the output of the one before, so they follow it in half precision: put the file just written in
place of the run's own, and go on with steps 4 to 6. Then
    python benchmarks/release.py --folder runs/lite --release-dir runs/lite/released

Reads   FOLDER/checkpoints/stage1.pt, stage2_*.pt, ...; FOLDER/data/test_*.npy
Writes  RELEASE_DIR/stage1.pt, ...  with what they score on the test persons: stage 1 with and without the flip test
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
from networks.trained_stages import SHARED, calibration_of, cascade_path, load_stages, run_with_confidence

FOLDER = "runs/lite"                  # of the run: holds checkpoints/ and data/
RELEASE_DIR = "checkpoints/released"  # where the stages go
STAGES = 0                            # 0 ... 99: how many of the trained stages; 0 = all
DEVICE = "auto"                       # auto, cpu, cuda, cuda:1, mps
HEADLINES = (("pck@0.2", "mean"), ("pck@0.2", "mean12"), ("pckh@0.5", "mean"), ("pcp_strict@0.5", "mean10"),
             ("pcp_strict@0.5", "mean8"))


def main(argv=None):
    settings = parse_settings(globals(), argv)
    folder, release_dir = Path(settings.folder), Path(settings.release_dir)
    persons = load_persons(folder / "data", "test", choose_device(settings.device))
    count = len(load_stages(folder / "checkpoints", persons, "cpu", settings.stages or None))
    checkpoints = {path.name: (stage, reduced(path, folder)) for stage in range(1, count + 1)
                   for path in paths_of(folder / "checkpoints", stage, persons.skeleton)}
    if others := {path.name for path in release_dir.glob("stage*.pt")} - checkpoints.keys():
        raise UserError(f"{release_dir.resolve()} holds {', '.join(sorted(others))} as well, which would be taken for "
                        "stages of the same model; remove them")
    with tempfile.TemporaryDirectory() as trial:
        write(Path(trial), checkpoints)
        stages = load_stages(trial, persons, persons.device)
    for number, (before, stage) in enumerate(zip(stages, stages[1:]), 2):
        if stage.refines != before.fingerprint:
            raise UserError(f"stage {number} was trained on the output of other weights than stage {number - 1} has in "
                            f"half precision; release --stages {number - 1} first, and train on the output of those")
    scores = scores_of(stages, persons)
    for number, content in checkpoints.values():
        content["scores"] = scores[number]
    write(release_dir, checkpoints)
    for number, kinds in scores.items():
        for kind, own in kinds.items():
            print(f"stage {number}, {kind}: " + ", ".join(f"{name} {value:.1f}" for name, value in own.items()))
    print(f"written: {', '.join(str(release_dir / name) for name in checkpoints)}")
    unsure = run_with_confidence(stages, persons, torch.arange(1, device=persons.device))[1]
    if any(own is not None and not calibration_of(stages[:number], kind == "flip test")
           for (number, kinds), own in zip(scores.items(), unsure) for kind in kinds):
        print("note: they are not all calibrated; run: python calibrate.py --checkpoint-dir "
              f"{release_dir} --data-dir {folder / 'data'}")


def paths_of(folder, stage, skeleton):
    if stage == 1:
        return [folder / "stage1.pt"]
    return [path for name in (SHARED, *skeleton.joints) if (path := cascade_path(folder, stage, name)).exists()]


def reduced(path, folder):
    """A checkpoint in half precision, without its log or a machine's paths."""
    content = placed(load_checkpoint(path, "python train_stage1.py"), str(folder.resolve().parent), "runs")
    return content | {"weights": halved(content["weights"]), "history": []}


def write(folder, checkpoints):
    for name, (_, content) in checkpoints.items():
        save_checkpoint(folder / name, content)


def scores_of(stages, persons):
    """stage -> with the flip test or without -> scores of the test persons."""
    rows = torch.arange(len(persons.crops), device=persons.device)

    def scored(pose):
        full = score(pose.cpu().numpy(), persons.truth, persons.head_sizes, persons.skeleton)
        return {f"{metric}_{mean}": full[metric][mean] for metric, mean in HEADLINES}

    found = {1: {"flip test": scored(stages[0].predict(persons, rows, True)),
                 "plain": scored(stages[0].predict(persons, rows))}}
    for number, pose in enumerate(run_with_confidence(stages, persons, rows)[0][1:], 2):
        found[number] = {"flip test" if stages[1].flip_test else "plain": scored(pose)}
    return found


if __name__ == "__main__":
    run(main)
