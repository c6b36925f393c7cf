"""After training: turn the stages' own confidence into the probability that a joint is right.

A joint is right within 0.2 torso diameters of the truth (of a skeleton without a torso: 0.1 of the box's side).
Fitted on the validation persons of those parts of the data that the test persons come from, apart for every stage
trained, and for stage 1 with and without the flip test; what goes into it is chosen by cross-validation over them.

Reads   data/train_*.npy, data/dataset.json, checkpoints/stage1.pt, checkpoints/stage2_*.pt (stage3_*.pt, ...)
Writes  checkpoints/stage1.pt  the same, with "calibration"; whatever uses the stages then tells probabilities
Next    python test_stage1.py, or test_stage2.py
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deeppose.calibration import FOLDS, TOLERANCE, choose, fit, folds_of, left_out
from deeppose.checkpoints import load_checkpoint, save_checkpoint
from deeppose.claims import claimed
from deeppose.devices import Cores, choose_device
from deeppose.metrics import joint_hits, reference_lengths
from deeppose.persons import load_persons
from deeppose.reliability import SUREST, auroc, brier, calibration_error, surest_right
from deeppose.settings import next_command, parse_settings
from networks.trained_stages import STAGE1, PoseStage, load_stages, pose_lengths, warn_of_other_held_out

DATA_DIR = "data"               # prepared arrays
CHECKPOINT_DIR = "checkpoints"  # weights; the calibration goes into stage1.pt there
SEED = 0                        # 0 ... 4294967295: of the cross-validation
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                 # auto | resident | streamed: on the device whole or read ahead of each batch
BATCH_SIZE = 64                 # 1 ... 65536: persons a step of stage 1


def main(argv=None):
    settings = parse_settings(globals(), argv)
    path = Path(settings.checkpoint_dir, "stage1.pt")
    load_checkpoint(path, "python train_stage1.py", STAGE1)  # its lack is told before a folder is made
    with claimed(settings.checkpoint_dir, "stage 1"):
        calibrate(settings, path)


def calibrate(settings, path):
    device, cores = choose_device(settings.device), Cores(settings.threads)
    persons = load_persons(settings.data_dir, "train", device, settings.images)
    stages = load_stages(settings.checkpoint_dir, persons, device)
    warn_of_other_held_out(stages, "its confidence too good")
    alike, sources = of_the_test_persons_kind(persons)

    cores.look(0.5)
    rows = torch.from_numpy(persons.held_out.nonzero()[0]).to(device)
    truth, alike, groups = (each[persons.held_out] for each in (persons.truth, alike, persons.groups))
    spans = reference_lengths(truth, persons.skeleton, persons.box_side)
    if not any(isinstance(stage, PoseStage) for stage in stages) \
            and stages[0].predict_with_confidence(persons, rows[:1], False, settings.batch_size)[1] is None:
        # no mistake: plain regression goes through the same steps as others
        print(f"note: {path} has no confidence of its own to calibrate, and stays as it is; --network integral and "
              "heatmap have, and --loss rle")
        return
    kinds = {flip_test: stages[0].predict_with_confidence(persons, rows, flip_test, settings.batch_size)
             for flip_test in (False, True)}
    print(f"validation persons: {alike.sum()} of {' and '.join(sources)}, {(~alike).sum()} others")

    calibrations = []
    for number, stage in enumerate(stages, 1):
        for flip_test in (False, True) if number == 1 else (stages[1].flip_test,):
            if number > 1:
                kinds[flip_test] = stage.refine_with_confidence(persons, rows, *kinds[flip_test])
            joints, own = kinds[flip_test]
            if own is None:  # a later stage may have one
                continue
            hits = joint_hits(joints.cpu().numpy(), truth, spans, TOLERANCE)
            lengths = pose_lengths(joints, persons.skeleton, persons.box_side).cpu().double().numpy()
            title = f"stage {number}" + ", flip test" * flip_test
            given = own.cpu().double().numpy(), lengths, hits
            calibrations.append(fitted(title, [each[alike] for each in given], [each[~alike] for each in given],
                                       groups[alike], settings.seed, fingerprint=stage.fingerprint, flip_test=flip_test,
                                       sources=sources))
    if not calibrations:
        return print(f"note: none of the stages has a confidence of its own to calibrate; {path} stays as it is")
    calibrations = [found for found in calibrations if found]
    if not calibrations:
        return print(f"note: {path} stays as it is")
    checkpoint = load_checkpoint(path, "python train_stage1.py", STAGE1)
    save_checkpoint(path, checkpoint | {"calibration": [found.plain() for found in calibrations]})
    print(f"written: {path}, with {len(calibrations)} calibrations")
    print(next_command(globals(), settings, f"test_stage{min(2, len(stages))}.py", ("data_dir", "checkpoint_dir")))


def of_the_test_persons_kind(persons):
    """Which held-out persons are of the parts of the data that the test persons come from, (N,) bool; those parts."""
    alike = persons.held_out & np.isin(persons.sources, persons.dataset["test"]["source"])
    if not alike.any():
        alike = persons.held_out
    if not alike.any():
        raise UserError(f"there are no validation persons, whom this is fitted on; run: {persons.prepare}")
    return alike, sorted(set(persons.sources[alike].tolist()))


def fitted(title, given, others, groups, seed, **facts):
    """Choose, fit and print what cross-validation says of it.

    given, others  own confidence (N, J), lengths (N,) and hits (N, J) of the persons it is for, and of others
    groups         (N,) of the persons it is for: who shares one is held out together
    facts          of the Calibration
    Returns        Calibration; None where there is too little to fit
    """
    own, _, hits = given
    try:
        found = choose(*given, others, seed,
                       lambda every: tqdm(every, desc=title, unit="way", leave=False, disable=None), groups)
    except ValueError as error:
        print(f"note: {title} can't be calibrated on these validation persons ({error})")
        return None
    (choices, loss), plain = found[0], dict(found)[()]
    if np.isnan(loss):
        print(f"\n{title}: a line; not cross-validated, since the validation persons are all near duplicates or frames "
              "of one block")
        return fit(*given, choices, others, **facts)
    print(f"\n{title}: a line{', ' if choices else ''}{', '.join(choices)}; log loss {loss:.4f} in {FOLDS}-fold "
          f"cross-validation, {plain:.4f} of the line alone")
    print(f"{'':17}{'calibration error':>18}{'Brier':>8}{'AUROC':>8}"
          + "".join(f"{f'surest {share:.0%} right':>20}" for share in SUREST))
    fold = folds_of(groups, np.random.default_rng(seed))
    for name, confidence in (("its own", own), ("cross-validated", left_out(*given, fold, choices, others))):
        print(f"  {name:15}{100 * calibration_error(confidence, hits):18.1f}{brier(confidence, hits):8.3f}"
              f"{auroc(confidence, hits):8.3f}"
              + "".join(f"{100 * surest_right(confidence, hits, share):20.1f}" for share in SUREST))
    return fit(*given, choices, others, **facts)


if __name__ == "__main__":
    run(main)
