"""Publish a run of the six steps: its scores, what was trained and how, in one file of results/.

    python benchmarks/publish.py --folder runs/alexnet-scratch --name lsp_alexnet_scratch

Reads   FOLDER/runs/stage<s>.json of the last stage tested, FOLDER/checkpoints/stage*.pt, FOLDER/data/dataset.json, and
        the weights BESIDE
Writes  results/NAME.json  scores, best epochs, settings and provenance of trainings, those included that a training
                           went on from, and of the test; a machine's own folders as the project names them: data/raw
                           and runs
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deeppose import arrays  # noqa: E402
from deeppose.checkpoints import load_checkpoint  # noqa: E402
from deeppose.errors import UserError, run  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402

FOLDER = "runs/alexnet-scratch"  # of the run: holds checkpoints/ and runs/
NAME = ""                        # of the result
BESIDE: tuple[str, ...] = ()     # weights of trainings that were compared with it on validation persons
RESULT_DIR = "results"           # where NAME.json goes


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if not settings.name:
        raise UserError("--name is missing: what the file in results/ shall be called")
    folder = Path(settings.folder)
    tested = sorted(folder.glob("runs/stage[0-9].json"))
    if not tested:
        raise UserError(f"{folder.resolve()} holds no runs/stage1.json; run: python test_stage1.py --run-dir "
                        f"{folder / 'runs'}")
    scores = arrays.load_json(tested[-1], "python test_stage1.py")
    stage = tested[-1].stem.removeprefix("stage")
    content = {"what": "scores on the test persons, percent, as the test step wrote them; how the stages were trained",
               f"stage {stage}": scores}
    content["training of stage 1"] = training_of(folder / "checkpoints/stage1.pt")
    for number in range(2, int(stage) + 1):
        content[f"training of stage {number}"] = [
            training_of(path) for path in sorted(folder.glob(f"checkpoints/stage{number}_*.pt"))
            if not path.stem.endswith("_last")]
    if settings.beside:
        content["trainings compared with it"] = [training_of(Path(path)) for path in settings.beside]
    # whatever the machine: where its raw data lie, and where the run does
    prepared = arrays.load_json(folder / "data/dataset.json", "python lsp_data.py")
    for place, name in ((prepared["settings"]["raw_dir"], "data/raw"), (str(folder.resolve().parent), "runs")):
        if Path(place).is_absolute() and Path(place) != Path("/"):
            content = placed(content, place.rstrip("/"), name)
    path = Path(settings.result_dir, f"{settings.name}.json")
    arrays.save_json(path, content)
    print(f"written: {path}")


def training_of(path, later=()):
    """What a checkpoint tells of its training, and of the one whose weights it began with, where they are there still
    and no others have taken their place; a released one has no history. later: the files that came to be after it."""
    checkpoint = load_checkpoint(path, "python train_stage1.py")
    history = checkpoint["history"]
    best = checkpoint.get("best_epoch", len(history))
    begun, later = Path(checkpoint["settings"].get("weights") or ""), (*later, path.resolve())
    earlier = {}
    if begun.suffix == ".pt" and begun.is_file() and begun.resolve() not in later:
        first = load_checkpoint(begun, "python train_stage1.py")
        dates = [each.get("provenance", {}).get("date", "") for each in (first, checkpoint)]
        if "history" in first and (dates[0] < dates[1] or "" in dates):  # no backbone's weights alone, no later ones
            earlier = {"initial weights": training_of(begun, later)}
    return {"file": path.name, "best epoch": history[best - 1] if history and best else None,
            "minutes": sum(row["seconds"] for row in history) / 60 if history else None,
            "settings": checkpoint["settings"], **checkpoint["provenance"], **earlier}


def placed(content, folder, name):
    """The same content, a machine's path of a folder replaced by a name wherever a text holds it."""
    if isinstance(content, dict):
        return {key: placed(value, folder, name) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [placed(value, folder, name) for value in content]
    whole = rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])"
    return re.sub(whole, name, content) if isinstance(content, str) else content


if __name__ == "__main__":
    run(main)
