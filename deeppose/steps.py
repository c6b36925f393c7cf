"""Several steps run one after another in one process."""
from .devices import Stopwatch
from .settings import quoted


def run_steps(steps, folder, seed, device):
    """Run steps in this process, each printed as the command that a user would type.

    steps    list of (module, flags)
    folder   holds raw/, data/, checkpoints/ and runs/, for the steps whose flags do not name others
    Returns  script -> seconds
    """
    given = {"RAW_DIR": folder / "raw", "DATA_DIR": folder / "data", "CHECKPOINT_DIR": folder / "checkpoints",
             "RUN_DIR": folder / "runs", "SEED": seed, "DEVICE": device}
    seconds = {}
    for module, flags in steps:
        flags = [str(flag) for flag in flags]
        for name, value in given.items():
            flag = "--" + name.lower().replace("_", "-")
            if hasattr(module, name) and flag not in flags:
                flags += [flag, str(value)]
        script = module.__name__ + ".py"
        print(f"\n$ python {script} {' '.join(map(quoted, flags))}", flush=True)
        watch = Stopwatch()
        module.main(flags)
        seconds[script] = round(watch.seconds, 1)
    return seconds
