"""Between steps 1 and 2, if wanted: put the training persons' labels right by networks that did not train on them.

    python train_stage1.py --preset lite --without 1/2 --checkpoint-dir checkpoints/half1 --run-dir runs/half1
    python train_stage1.py --preset lite --without 2/2 --checkpoint-dir checkpoints/half2 --run-dir runs/half2
    python clean_labels.py checkpoints/half1 checkpoints/half2 --keep lsp

Where such a network is sure, arms or legs whose sides are exchanged are exchanged back, and joints far from where it
sees them are left out. Validation and test persons keep the labels as published, as data/ itself does. The networks
must be good: --keep names data sets whose labels are right, which are then left as they are, and what the table says of
them is the networks' mistakes.

Reads   data/*.npy, data/dataset.json; of each folder named stage1.pt
Writes  data-cleaned/             all of data/ (as links where the disk allows), but for train_labels.npy
        runs/cleaned_labels.csv   what was done to whom
        runs/cleaned_labels.png   some of them: cleaned labels in colours over those as published in white
Next    python train_stage1.py --data-dir data-cleaned
"""
from deeppose.errors import UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import os
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

from deeppose import arrays
from deeppose.checkpoints import load_checkpoint
from deeppose.claims import claimed
from deeppose.devices import Cores, choose_device, has_bfloat16
from deeppose.drawing import contact_sheet
from deeppose.inference import diameters
from deeppose.label_cleaning import corrected, errors
from deeppose.persons import load_persons
from deeppose.settings import next_command, parse_settings, quoted
from deeppose.training import part_of, write_rows
from networks.trained_stages import STAGE1, load_stages

DATA_DIR = "data"               # prepared arrays
CLEANED_DIR = "data-cleaned"    # for the same with cleaned labels
RUN_DIR = "runs"                # for the list and the picture
SEED = 0                        # 0 ... 4294967295: of whom the picture shows
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: of a CPU; 0 = one for each core that other programs leave free
IMAGES = "auto"                 # auto | resident | streamed: on the device whole or read ahead of each batch
BATCH_SIZE = 64                 # 1 ... 65536: persons a step
SURE = 0.5                      # 0.0 ... 1: least confidence, the network's own, that counts against a label
FAR = 0.5                       # 0.05 ... 1: torso diameters from label to prediction beyond which a joint is left out
GAIN = 0.3                      # 0.0 ... 1: torso diameters by which exchanged sides must be nearer, on the mean
KEEP: tuple[str, ...] = ()      # data sets whose labels stay as published: the table then tells the networks' mistakes
SHOWN = 24                      # 1 ... 1000: persons in the picture with sides exchanged, and as many others


def main(argv=None):
    settings = parse_settings(globals(), argv, ("folders", "+", "of checkpoints trained --without 1/n ... n/n"))
    data, cleaned = Path(settings.data_dir), Path(settings.cleaned_dir)
    if data.exists() and cleaned.exists() and os.path.samefile(data, cleaned):
        raise UserError("--cleaned-dir is --data-dir, whose labels stay as published; name another folder")
    device, cores = choose_device(settings.device), Cores(settings.threads)
    persons = load_persons(settings.data_dir, "train", device, settings.images)
    kept = kept_in(persons.sources, settings.keep)
    networks, count = networks_of(settings, persons, device)
    with claimed(settings.cleaned_dir, "cleaned labels"), claimed(settings.run_dir, "list of cleaned labels"):
        cores.look(0.5)
        clean(settings, persons, persons.parts(count), networks, kept)
    print(next_command(globals(), Namespace(**vars(settings) | {"data_dir": settings.cleaned_dir}), "train_stage1.py"))


def clean(settings, persons, part, networks, kept):
    """part (N,) int; networks {part: Stage1 that was trained without it}; kept (N,) bool."""
    predicted, confidence = np.zeros(persons.truth.shape, np.float32), np.zeros(persons.truth.shape[:2], np.float32)
    for number, network in networks.items():
        rows = np.flatnonzero(part == number)
        joints, own = network.predict_with_confidence(persons, torch.from_numpy(rows).to(persons.device), True,
                                                      settings.batch_size)
        if own is None:
            raise UserError("these networks have no confidence to go by; train them with --network integral or heatmap")
        predicted[rows], confidence[rows] = joints.cpu().numpy(), own.cpu().numpy()

    skeleton, chosen, published = persons.skeleton, np.flatnonzero(part), persons.truth
    smallest = 0.5 * float(np.median(diameters(torch.from_numpy(predicted[chosen]), skeleton, 0)))
    spans = diameters(torch.from_numpy(predicted), skeleton, smallest).numpy()
    labels, exchanged = published.copy(), np.zeros((len(part), 2), bool)
    left_out = np.zeros(published.shape[:2], bool)
    labels[chosen], exchanged[chosen], left_out[chosen] = corrected(
        published[chosen], predicted[chosen], confidence[chosen], spans[chosen], skeleton, settings.sure, settings.far,
        settings.gain)
    labels[kept] = published[kept]
    write(settings, persons, labels)
    report(settings, persons, chosen, labels, exchanged, left_out, kept, errors(published, predicted, spans))


def kept_in(sources, keep):
    """Which persons' labels stay as published, (N,) bool. Raises UserError where `keep` names another data set."""
    if unknown := set(keep) - set(sources):
        raise UserError(f"--keep {min(unknown)}: expected one of {', '.join(sorted(set(sources)))}")
    return np.isin(sources, keep)


def networks_of(settings, persons, device):
    """The network that looks at each part's persons: {part: Stage1}, and the number of parts.

    Raises UserError where the folders are not of one network for each part, or of another split
    """
    found, counts = {}, set()
    for folder in settings.folders:
        path = Path(folder, "stage1.pt")
        checkpoint = load_checkpoint(path, "python train_stage1.py --without 1/2", STAGE1)
        if not (without := checkpoint.get("without")):
            raise UserError(f"{path.resolve()} was trained on all persons and knows their labels by heart; train two "
                            "networks, --without 1/2 and --without 2/2")
        part, count = part_of(without)
        counts.add(count)
        stage1 = load_stages(folder, persons, device, 1)[0]
        divided = persons.parts_fingerprint(count)  # which older ones do not tell
        if stage1.other_held_out or checkpoint.get("parts", divided) != divided:
            raise UserError(f"{path.resolve()} was trained on another split of the persons, so that it may know labels "
                            f"by heart; train it anew on {settings.data_dir}")
        if part in found and len(counts) == 1:
            raise UserError(f"two of the networks were trained without part {without}; name one of each")
        found[part] = stage1.folded(has_bfloat16(device))
    if len(counts) > 1 or len(found) != max(counts):
        there = ", ".join(map(str, sorted(found)))
        raise UserError(f"there are networks without parts {there} of {max(counts)}; name a folder for each part, all "
                        "of one division")
    return found, max(counts)


def write(settings, persons, labels):
    """Make CLEANED_DIR of DATA_DIR; dataset.json comes last."""
    source, folder = Path(settings.data_dir), Path(settings.cleaned_dir)
    (folder / "dataset.json").unlink(missing_ok=True)
    for name in arrays.PREPARED:
        if name == "train_labels":
            arrays.save(folder / "train_labels.npy", labels)
            continue
        file = os.path.realpath(source / f"{name}.npy")  # a link to a link would lead nowhere from another folder
        with arrays.whole(folder / f"{name}.npy") as temporary:
            try:
                os.link(file, temporary)
            except OSError:  # another disk, or one without links
                shutil.copyfile(file, temporary)
    arrays.save_json(folder / "dataset.json", persons.dataset | {
        "prepare": " ".join(["python clean_labels.py", *map(quoted, settings.folders),
                             *(["--keep", *map(quoted, settings.keep)] if settings.keep else [])]),
        "labels": "train_labels cleaned by clean_labels.py; those of validation and test persons as published",
        "digests": persons.dataset["digests"] | {"train_labels": arrays.digest(labels)}})


def report(settings, persons, chosen, labels, exchanged, left_out, kept, published_errors):
    """Print what was found, of kept data sets as well; list and draw what was changed."""
    names, sources = persons.dataset["train"]["image"], persons.sources
    skeleton, parts = persons.skeleton, ("arms", "legs") if persons.skeleton.lower else ("sides",)
    print(f"{'data set':<12}{'persons':>9}" + "".join(f"{name + ' exchanged':>19}" for name in parts)
          + f"{'joints left out':>23}")
    for source in dict.fromkeys(sources):
        rows = chosen[sources[chosen] == source]
        known = np.isfinite(persons.truth[rows]).all(2).sum()
        counts = [(exchanged[rows, part].sum(), len(rows)) for part in range(len(parts))]
        print(f"{source:<12}{len(rows):>9,}" + "".join(
            f"{count:>{width},} ({count / max(of, 1):5.1%})"
            for (count, of), width in zip([*counts, (left_out[rows].sum(), known)], [10] * len(parts) + [14]))
            + "  kept as published: mistakes of the networks" * (source in settings.keep))
    exchanged, left_out = exchanged & ~kept[:, None], left_out & ~kept[:, None]

    def words(row):
        """What was exchanged, and what was left out."""
        return (" ".join(name for name, it in zip(parts, exchanged[row]) if it),
                " ".join(name for name, it in zip(skeleton.joints, left_out[row]) if it))

    changed = np.flatnonzero(exchanged.any(1) | left_out.any(1))
    folder = Path(settings.run_dir)
    (folder / "cleaned_labels.png").unlink(missing_ok=True)  # an earlier run's
    write_rows(folder / "cleaned_labels.csv", [
        {"row": row, "source": sources[row], "image": names[row], **dict(zip(("exchanged", "left_out"), words(row))),
         "largest_error_up_to_1": round(float(np.nanmax(published_errors[row])), 3)} for row in changed],
        ("row", "source", "image", "exchanged", "left_out", "largest_error_up_to_1"))
    generator = np.random.default_rng(settings.seed)
    kinds = exchanged.any(1), left_out.any(1) & ~exchanged.any(1)
    shown = np.concatenate([np.sort(generator.permutation(np.flatnonzero(kind))[:settings.shown]) for kind in kinds])
    if len(shown):
        images, margin = persons.boxes_shown(shown)
        captions = [" and ".join(text + verb for text, verb in zip(words(row), (" exchanged", " left out")) if text)
                    for row in shown]
        contact_sheet(folder / "cleaned_labels.png", images, skeleton,
                      [(persons.truth[shown] - margin, "truth"), (labels[shown] - margin, "predicted")], captions,
                      called=("as published", "cleaned"))
    print(f"{len(changed):,} of {len(chosen):,} training persons with sides exchanged or joints left out")
    pictured = f", {folder}/cleaned_labels.png" * bool(len(shown))
    print(f"written: {settings.cleaned_dir}, {folder}/cleaned_labels.csv{pictured}")


if __name__ == "__main__":
    run(main)
