"""What checkpoints tell of a training, in words: for a report."""
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeppose.checkpoints import load_checkpoint
from deeppose.errors import Failure

from .trained_stages import SHARED, STAGE1, load_cascade_checkpoint, trained_on


@dataclass
class Trained:
    """A stage that was trained.

    title     of its column
    dataset   that it was trained on
    split     fingerprint of who trained and who was held out
    facts     name -> text: what matters
    settings  name -> text: all of them
    history   rows of its log
    """
    title: str
    dataset: str
    split: str
    facts: dict
    settings: dict
    history: list


def training_facts(checkpoint_dir):
    """Stage's number -> Trained, of the stages of which a folder holds finished networks. Raises Failure where one is
    broken."""
    paths, joints = {}, None
    for path in sorted(Path(checkpoint_dir).glob("stage*.pt")):  # stage1.pt comes first
        match = re.fullmatch(r"stage(1(?=\.)|\d+(?=_))(?:_(.+))?\.pt", path.name)
        if not match or path.stem.endswith("_last") or int(match[1]) == 1 and match[2]:
            continue
        joints = joints or trained_on(load_checkpoint(path, "python train_stage1.py"), path)[0].joints
        if match[2] in (None, SHARED, *joints):  # what is called otherwise is a copy
            paths.setdefault(int(match[1]), []).append(path)
    found = {}
    for number, own in sorted(paths.items()):
        checkpoints = []
        for path in own:
            checkpoint = load_checkpoint(path, "python train_stage1.py", STAGE1) if number == 1 else \
                load_cascade_checkpoint(path, number)
            if not all(map(_is_row, checkpoint["history"])):
                raise Failure(f"{path.resolve()} is broken: its history is no log of epochs; train it again")
            checkpoint["numbers"] = sum(tensor.numel() for tensor in checkpoint.pop("weights").values())
            checkpoints.append(checkpoint)
        found[number] = _trained(number, checkpoints)
    return found


def unfinished(checkpoint_dir):
    """Names of the networks in a folder whose training was begun and has left none that later steps use."""
    return sorted(path.stem.removesuffix("_last") for path in Path(checkpoint_dir).glob("stage*_last.pt")
                  if not path.with_name(path.name.replace("_last.pt", ".pt")).exists())


def _trained(number, checkpoints):
    first = checkpoints[0]
    history = [row for checkpoint in checkpoints for row in checkpoint["history"]]
    names = [checkpoint.get("joint", "") for checkpoint in checkpoints]
    for checkpoint in checkpoints:  # older ones do not tell
        checkpoint["provenance"] = origin if isinstance(origin := checkpoint.get("provenance"), dict) else {}
    origins = [checkpoint["provenance"] for checkpoint in checkpoints]

    def setting(*keys):
        return _together([", ".join(f"{key.replace('_', ' ')} {_shown(checkpoint['settings'][key])}" for key in keys
                                    if key in checkpoint["settings"]) for checkpoint in checkpoints])

    def fact(name, place=None):
        return _together([(checkpoint[place] if place else checkpoint).get(name) for checkpoint in checkpoints])

    alexnets = number > 1 and first.get("kind", "alexnet") == "alexnet"  # which begin randomly, and are not shifted
    if number == 1:
        network = f"{first.get('kind', 'regression')}, {first['network'].get('backbone', 'without a backbone')}"
        sees = f"{first['input_size']} pixels"
    elif alexnets:
        network = "one AlexNet for all joints" if names == [SHARED] else f"{len(names)} AlexNets, a joint each"
        network += f", {fact('width', 'network')} as wide"
        sees = f"{fact('crop_size', 'network')} pixels, of windows of {fact('sigma')} diameters of the pose so far"
    else:
        network = f"{first['kind']}, {first['network'].get('backbone', 'without a backbone')}"
        sees = f"{fact('input_size')} pixels, of windows of {fact('sigma')} extents of the pose so far"
    epochs = [checkpoint.get("best_epoch") for checkpoint in checkpoints]
    best = [epoch for epoch in dict.fromkeys(epochs) if epoch != 0]
    if unmoved := epochs.count(0):
        best.append("none was better than the stage before" if unmoved == len(epochs) else
                    f"none for {unmoved} of {len(epochs)} joints, left as they came")
    dates = sorted(str(origin["date"]) for origin in origins if origin.get("date"))
    facts = {"network": network, "numbers in the weights": f"{sum(each['numbers'] for each in checkpoints):,}",
             "sees": sees, "data set": fact("dataset"),
             "initial weights": "random" if alexnets else fact("weights", "settings"),
             "epochs": _together([len(each["history"]) or f"{each['settings'].get('epochs')} (as set: without a log)"
                                  for each in checkpoints]),
             "best epoch": _together(best),
             "optimiser": setting("optimiser", "learning_rate", "schedule", "batch_size", "loss"),
             "augmentation": setting("rotation", "scale", *["shift"] * (not alexnets), "flip", "colour"),
             "seed": fact("seed", "settings"), "minutes": _minutes(history or origins)}
    facts |= {name: fact(name, "provenance") for name in ("commit", "hardware", "threads", "command")}
    facts["finished"] = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "not told"
    facts["versions"] = _together([", ".join(f"{name} {of}" for name, of in dict(origin.get("versions") or {}).items())
                                   for origin in origins])
    if number > 1:
        facts["joints"] = "all" if names == [SHARED] else ", ".join(names)
    every = {name: fact(name, "settings") for name in dict.fromkeys(
        name for checkpoint in checkpoints for name in checkpoint["settings"])}
    return Trained(f"stage {number}", str(first["dataset"]), str(first.get("split", "")), facts, every, history)


def data_facts(persons, split, trained):
    """What prepared data are, name -> text.

    persons  the test split
    split    train_split.npy
    trained  result of `training_facts`
    """
    dataset = persons.dataset
    sources = {name: dict(zip(*map(np.ndarray.tolist, np.unique(dataset[name]["source"], return_counts=True))))
               for name in ("train", "test")}
    facts = {"name": dataset["dataset"], "prepared by": dataset["prepare"],
             "persons to train on": f"{(split == 0).sum():,}, and {(split == 1).sum():,} for validation",
             "test persons": f"{len(persons.truth):,}",
             "of which parts": "; ".join(f"{name}: " + ", ".join(f"{count:,} {source}" for source, count in own.items())
                                         for name, own in sources.items()),
             "joints": f"{len(persons.skeleton.joints)}: {', '.join(persons.skeleton.joints)}",
             "crops": f"{persons.crop_size} pixels, {persons.context:g} boxes",
             "test persons also in training": str(len({pair["test_row"] for pair in dataset["test_duplicates"]}))}
    others = [own.title for own in trained.values() if own.split and own.split != persons.split]
    if others:
        facts["note"] = f"{' and '.join(others)} trained on another split of such data: other persons were held out, " \
            "or the data are others"
    return facts


def _together(values):
    """What several networks share, once; where they differ all that there is."""
    shown = list(dict.fromkeys(_shown(value) for value in values))
    return shown[0] if len(shown) == 1 else "; ".join(shown[:4]) + ("; …" if len(shown) > 4 else "")


def _shown(value):
    if value is None or value == "":
        return "not told"
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _is_row(row):
    """Whether it is a row of a training's log: numbers, and a joint's name."""
    return isinstance(row, dict) and {"epoch", "loss"} <= row.keys() and all(
        isinstance(value, str) if key == "joint" else isinstance(value, (int, float)) for key, value in row.items())


def _minutes(parts):
    """Of epochs, or where a checkpoint holds none of whole trainings."""
    seconds = [part.get("seconds") for part in parts]
    known = [value for value in seconds if isinstance(value, (int, float))]
    return f"{sum(known) / 60:.1f}" if known else "not told"
