"""The demo on several seeds, also with stage 1 trained twice as long: does stage 2 gain every time?

Writes  results/demo.json  scores of both stages for each seed, gains, seconds, hardware, commit
        WORK_DIR/          one folder a run; a run that is finished there is not run again
"""
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import demo  # noqa: E402
from deeppose import arrays  # noqa: E402
from deeppose.devices import choose_device  # noqa: E402
from deeppose.errors import run  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings, read_preset  # noqa: E402
from deeppose.steps import run_steps  # noqa: E402

WORK_DIR = "runs/demo_seeds"           # data, checkpoints and runs of each run
RESULT_DIR = "results"                 # where demo.json goes
SEEDS: tuple[int, ...] = (0, 1, 2)     # 0 ... 4294967295: of figures, networks and training alike
LONGER_SEEDS: tuple[int, ...] = (0,)   # 0 ... 4294967295: run once more with stage 1 trained twice as long
DEVICE = "cpu"                         # auto, cpu, cuda, cuda:1, mps

HEADLINES = {"pck@0.2": "mean", "pckh@0.5": "mean", "pcp_strict@0.5": "mean8"}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    runs = {}
    for kind, factor, seeds in (("as it is", 1, settings.seeds),
                                ("stage 1 twice as long", 2, settings.longer_seeds)):
        for seed in seeds:
            folder = Path(settings.work_dir, f"seed{seed}_epochs{factor}")
            record = folder / "seconds.json"
            if not record.exists():
                epochs = factor * read_preset("demo")["train_stage1"]["epochs"]
                chosen = parse_settings(vars(demo), ["--seed", str(seed), "--stage1-epochs", str(epochs)])
                seconds = run_steps(demo.steps(chosen), folder, seed, settings.device)
                arrays.save_json(record, seconds)
            scores = arrays.load_json(folder / "runs/stage2.json", "python demo.py")
            stages = {"mean pose": scores["mean pose"], "stage 1": scores["stage 1"], "stage 2": scores}
            runs.setdefault(kind, {})[f"seed {seed}"] = {
                **{stage: {name: content[name][mean] for name, mean in HEADLINES.items()}
                   for stage, content in stages.items()},
                "gain_8_limbs": scores["gain_over_stage1"]["pcp_strict@0.5_mean8"],
                "seconds_of_steps": arrays.load_json(record, "python demo.py")}
    seconds = sum(sum(seed["seconds_of_steps"].values()) for seeds in runs.values() for seed in seeds.values())
    gains = {kind: [seed["gain_8_limbs"]["gain"] for seed in seeds.values()] for kind, seeds in runs.items()}
    content = {"what": "make demo on several seeds; scores on its test figures, percent", "runs": runs,
               "gain_8_limbs": {kind: {"mean": np.mean(g), "least": min(g)} for kind, g in gains.items()},
               **provenance(settings, seconds, choose_device(settings.device))}
    arrays.save_json(Path(settings.result_dir, "demo.json"), content)
    for kind, values in gains.items():
        print(f"{kind}: stage 2 gains {', '.join(f'{v:+.2f}' for v in values)} points of 8-limb strict PCP, "
              f"mean {np.mean(values):+.2f}")


if __name__ == "__main__":
    run(main)
