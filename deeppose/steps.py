"""Several steps run one after another in one process, gone on with where they were interrupted."""
from pathlib import Path

import torch

from . import arrays
from .checkpoints import plain_settings
from .claims import claimed
from .devices import Stopwatch
from .errors import Failure, UserError
from .settings import parse_settings, quoted

# where and how a step runs, not what comes of it; seed and raw data are told by what `run_steps` is given
PLACES = ("preset", "raw_dir", "data_dir", "checkpoint_dir", "run_dir", "seed", "device", "threads", "images",
          "workers")


def run_steps(steps, folder, seed, device, raw_dir=None, record=False):
    """Run steps in this process, each printed as the command that a user would type.

    steps    list of (module, flags)
    folder   holds data/, checkpoints/ and runs/, for the steps whose flags do not name others
    raw_dir  folder of the raw data; None = raw/ in that folder
    record   keep what is finished in steps.json there, and leave it out when asked again for the same; the last step,
             which tells the scores, is always run
    Returns  command's script and stage, e.g. "train_stage2.py --stage 3" -> seconds, see `labels`
    Raises   UserError where record says that a step was run there with another seed, other raw data or other settings,
             by a flag, a preset or its constants
    """
    folder, names = Path(folder), labels(steps)
    given = {"RAW_DIR": raw_dir or folder / "raw", "DATA_DIR": folder / "data",
             "CHECKPOINT_DIR": folder / "checkpoints", "RUN_DIR": folder / "runs", "SEED": seed, "DEVICE": device}
    if not record:
        return {name: _run(*step, given) for name, step in zip(names, steps)}
    with claimed(folder, "steps"):
        path = folder / "steps.json"
        done = _finished(path)
        for number, (name, (module, flags)) in enumerate(zip(names, steps), 1):
            command, asked = command_of(module, flags), _asked(module, list(map(str, flags)), given)
            before = done.setdefault(name, {})
            if "seconds" not in before:  # never finished: it is held to nothing
                before.update(command=command, asked=asked)
            ways = f"ask for the same, name another folder, or remove {folder.resolve()}"
            if before["command"] != command:
                raise UserError(f"{path.resolve()} holds a run of '{before['command']}' where now '{command}' is asked "
                                f"for; {ways}")
            was = asked | before.get("asked", {})  # older records tell less
            if unlike := [f"{what} ({was[what]}, now {value})" for what, value in asked.items() if was[what] != value]:
                raise UserError(f"{path.resolve()} holds a run of '{command}' with another {' and '.join(unlike)}; "
                                f"{ways}")
            if "seconds" not in before or number == len(steps):
                for later in names[number:]:  # of what they made the grounds are about to change
                    done.get(later, {}).pop("seconds", None)
                arrays.save_json(path, done)
                before["seconds"] = _run(module, flags, given)
                arrays.save_json(path, done)
            else:
                prepares = hasattr(module, "RAW_DIR") and hasattr(module, "DATA_DIR")  # and does not draw the raw data
                print(f"finished already: {command}" + f", of the raw data as they were; to read them anew, remove "
                      f"{folder}" * prepares)
    return {name: done[name]["seconds"] for name in names}


def _finished(path):
    """What steps.json says. Raises Failure where it is broken."""
    try:
        return arrays.load_json(path, "") if path.exists() else {}
    except Failure:
        raise Failure(f"{path.resolve()} is broken; remove it: what is trained stays, the other steps are run "
                      "again") from None


def labels(steps):
    """What each step is called: its script, and the stage where the flags name one; (2) where it comes again."""
    names = []
    for module, flags in steps:
        flags = list(map(str, flags))
        names.append(f"{module.__name__}.py"
                     + (f" --stage {flags[flags.index('--stage') + 1]}" if "--stage" in flags else ""))
    return [name + f" ({names[:place].count(name) + 1})" * (name in names[:place]) for place, name in enumerate(names)]


def command_of(module, flags):
    """The command as typed, without the folders, seed and device that `run_steps` adds."""
    return " ".join(["python", f"{module.__name__}.py", *map(quoted, map(str, flags))])


def _asked(module, flags, given):
    """What a step's result depends on beside its command: what is told by its name -> value."""
    asked = {what: str(given[name]) for what, name in (("seed", "SEED"), ("raw folder", "RAW_DIR"))
             if hasattr(module, name)}
    settings = plain_settings(parse_settings(vars(module), flags))
    ignored = {*PLACES, *getattr(module, "PLACES", ())}
    return asked | {name: value for name, value in settings.items() if name not in ignored}


def _run(module, flags, given):
    """given: constant -> value, for the modules that have it and whose flags do not."""
    flags = [str(flag) for flag in flags]
    for name, value in given.items():
        flag = "--" + name.lower().replace("_", "-")
        if hasattr(module, name) and flag not in flags:
            flags += [flag, str(value)]
    print(f"\n$ {command_of(module, flags)}", flush=True)
    watch, threads = Stopwatch(), torch.get_num_threads()
    try:
        module.main(flags)
    finally:
        torch.set_num_threads(threads)  # a step that gave way to other programs leaves fewer
    return round(watch.seconds, 1)
