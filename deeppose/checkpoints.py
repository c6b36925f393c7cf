"""Checkpoints: plain dictionaries of tensors, numbers and strings; written whole, read with nothing executed."""
import io
import pickle
import warnings
from pathlib import Path

import torch

from .arrays import whole
from .errors import Failure, UserError

# settings that older checkpoints do not tell
OLDER = {"frozen_stages": 0, "missed": True, "oversample": [], "backbone_rate": 1.0, "frozen_steps": 0,
         "global_contrast": False, "heatmap_sigma": None, "without": "",
         # of stage 2 and later
         "network": "alexnet", "weights": "stage1", "backbone": "efficientnet_lite0", "heatmap_weight": 1.0,
         "upright": False, "agreement": 0.3, "shift": 0.05, "told_noise": 0.0, "untold": 0.0, "channels_last": False}


def save_checkpoint(path, content):
    """Write a dictionary of tensors, numbers and strings, whole or not at all. Raises Failure, e.g. on a full disk."""
    memory = io.BytesIO()  # torch tells what a disk refuses in words of its own, which say neither what nor where
    torch.save(content, memory)
    with whole(path) as temporary, open(temporary, "wb") as file:
        file.write(memory.getbuffer())


def load_checkpoint(path, made_by, kinds=None):
    """Read a checkpoint.

    made_by  the command that makes it, for messages
    kinds    name -> type or types of what it must hold; under "weights" only finite tensors
    Raises   UserError where it is missing; Failure where it can't be read, is broken, or something else
    """
    path = Path(path)
    where = path.resolve()
    if path.exists() and not path.is_file():
        raise UserError(f"{where} is no file; remove it and run: {made_by}")
    if path.parent.is_file():
        raise UserError(f"{where.parent} is a file; name the folder that checkpoints are in")
    try:
        checkpoint = read_tensors(path)
    except FileNotFoundError:
        deeper = path.parent / "checkpoints"  # of a folder of run.py
        there = (deeper / path.name).is_file()
        what = where if path.parent.is_dir() else f"the folder {where.parent}"
        raise UserError(f"{what} not found; " + (f"did you mean {deeper}?" if there else f"run: {made_by}")) from None
    except OSError as error:
        raise Failure(f"{where} can't be read: {error.strerror or error}; see what keeps it") from None
    except pickle.UnpicklingError:  # torch's own words go on to advise how to open it nevertheless
        raise Failure(f"{where} is not opened: it is broken, or holds more than tensors, numbers and strings; run "
                      f"again: {made_by}") from None
    except Exception as error:  # torch raises many kinds for a broken file
        raise Failure(f"{where} can't be read ({type(error).__name__}: it is broken or no checkpoint); run again: "
                      f"{made_by}") from None
    if fault := _fault(checkpoint, kinds or {}):
        raise Failure(f"{where} {fault}; run again: {made_by}")
    return checkpoint


def read_tensors(path):
    """What torch reads, onto the CPU, from a file without executing anything in it, and without words of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _fault(checkpoint, kinds):
    if not isinstance(checkpoint, dict):
        return f"is no checkpoint: it holds a {type(checkpoint).__name__}"
    for name, kind in kinds.items():
        if name not in checkpoint:
            return f"is another file, or an older version's: it lacks {name!r}"
        value = checkpoint[name]
        if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
            return f"is broken: its {name!r} is a {type(value).__name__}"
    if "weights" in kinds:
        return weights_fault(checkpoint["weights"])
    return None


def weights_fault(weights):
    """Why a state_dict is none that a network could use, in words; None where it is one."""
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            return f"is broken: its weights' {name!r} is a {type(value).__name__}"
        if value.is_complex() or not value.isfinite().all():
            return f"holds weights that are not finite numbers ({name})"
    return None


def halved(weights):
    """Weights in half precision; what does not fit into it, and whole numbers, as they are."""
    def half(value):
        smaller = value.half() if value.is_floating_point() else value
        return smaller if smaller.isfinite().all() else value
    return {name: half(value) for name, value in weights.items()}


def plain_settings(settings):
    """A Namespace as a dictionary that a checkpoint may hold."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(settings).items()}


def changed_settings(old, new, ignore=()):
    """Text of the settings that differ between a checkpoint's and now, e.g. "epochs 5 -> 10"; empty if none does."""
    old = OLDER | old
    return ", ".join(f"{name} {old.get(name)} -> {value}" for name, value in new.items()
                     if name not in ignore and old.get(name) != value)
