"""One page that shows what happened: what was trained on what, scores, curves, errors, persons, the road to a pose.

Reads   whatever there is of runs/stage*.json, ..._predictions.npy, ..._training.csv, checkpoints/, data/test_*.npy
Writes  runs/report.html  opens in any browser, from the disk; holds test persons' pictures, whose terms are the data's
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load is answered in a line

from pathlib import Path

import torch

import predict
from compare import poses_of
from deeppose import arrays, report_persons, report_sections
from deeppose.archives import Unreadable
from deeppose.claims import claimed
from deeppose.devices import choose_device
from deeppose.persons import LooseCrops, load_persons
from deeppose.photos import read_photo
from deeppose.report_errors import error_kinds
from deeppose.report_files import columns_of, notes_of, stages_of, test_runs, training_log
from deeppose.report_html import Pictures, is_report, page
from deeppose.report_scores import limits_of, poses_scored
from deeppose.reports import COMMIT
from deeppose.settings import parse_settings
from deeppose.stored_crops import enlarge
from deeppose.testing import mean_pose, score_persons
from networks.road import road
from networks.trained_facts import data_facts, training_facts, unfinished
from networks.trained_stages import load_stages

DATA_DIR = "data"               # prepared arrays, for pictures and intervals
CHECKPOINT_DIR = "checkpoints"  # weights
RUN_DIR = "runs"                # scores and logs
OUT = "none"                    # the page, which replaces an earlier one; none = report.html in RUN_DIR
PERSONS: tuple[str, ...] = ()   # test persons whose road is shown, by row or photograph; three of the gallery if empty
PHOTOS: tuple[str, ...] = ()    # photographs whose road is shown, of the person that predict.py finds in it
SHOWN = 6                       # 1 ... 30: persons of each kind in the gallery
SEED = 0                        # 0 ... 4294967295: of the bootstrap
DRAWS = 1000                    # 100 ... 100000: of the bootstrap
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps: for the roads

# bytes of the page; of its pictures side in pixels and quality, the first that fit into it
LARGEST = 5_000_000
PICTURES = ((360, 85), (280, 75), (200, 65), (128, 50))


def main(argv=None):
    settings = parse_settings(globals(), argv)
    out = Path(settings.run_dir, "report.html") if settings.out == "none" else Path(settings.out)
    if out.exists() and not is_report(out):
        raise UserError(f"{out.resolve()} is there already and is no report; name another --out")
    torch.set_num_threads(1)  # a person at a time gives several little to share
    tests, trained = test_runs(settings.run_dir), training_facts(settings.checkpoint_dir)
    logs = training_logs(settings.run_dir, trained)
    predicted = stages_of(settings.run_dir, "_predictions.npy")
    if not (tests or trained or logs or predicted):
        raise UserError(f"nothing to report: {Path(settings.run_dir).resolve()} holds no test run or training log, "
                        f"{Path(settings.checkpoint_dir).resolve()} no trained stage; run: python train_stage1.py, or "
                        "name other folders")
    if not (tests or predicted or stages_of(settings.run_dir, "_training.csv")):
        deeper = Path(settings.run_dir, "runs")
        print(f"note: {Path(settings.run_dir).resolve()} holds no test run, training log or predictions"
              + (f"; did you mean --run-dir {deeper}?" if deeper.is_dir() else ""))
    with claimed(out.parent, "report"):
        build = gathered(settings, tests, trained, logs, predicted)
        for side, quality in PICTURES:
            text = build(Pictures(side, quality)).encode()
            if len(text) <= LARGEST:
                break
        else:
            raise Failure(f"the page would have {len(text) / 1e6:.1f} MB; take a smaller --shown, or fewer --persons "
                          "and --photos")
        with arrays.whole(out) as temporary:
            temporary.write_bytes(text)
    print(f"written to {out}: " + (f"{len(text) / 1e6:.1f} MB" if len(text) > 1e5 else f"{len(text) / 1e3:.0f} kB"))


def training_logs(run_dir, trained):
    """Stage's number -> rows of its training, from its checkpoints or, while there are none, from its log."""
    numbers = sorted({*trained, *stages_of(run_dir, "_training.csv")})
    logs = {number: trained[number].history if number in trained else
            training_log(Path(run_dir, f"stage{number}_training.csv")) for number in numbers}
    return {number: rows for number, rows in logs.items() if rows}


def gathered(settings, tests, trained, logs, predicted):
    """All that the page tells, as a function of Pictures that gives its text."""
    folder, persons = Path(settings.data_dir), None
    if (folder / "dataset.json").exists():
        persons = load_persons(folder, "test", torch.device("cpu"))
    columns = columns_of(*list(tests.items())[-1]) if tests else {}
    files = {f"stage {number}": Path(settings.run_dir, f"stage{number}_predictions.npy") for number in predicted}
    poses = {stage: poses_of(path, persons, "--data-dir") for stage, path in files.items()} if persons else {}
    poses, told = poses_scored(poses, persons, columns) if poses else ({}, [])
    if not columns and poses:
        columns = {name: score_persons(pose, persons) for name, pose in poses.items()}
        told.append("There is no report of a test run; these scores are of the predictions.")
    known = {"mean pose": mean_pose(folder, len(persons.truth))} if persons and "mean pose" in columns else {}
    limits, more = limits_of(columns, known | poses, persons, settings.draws, settings.seed)
    newest = tests[max(tests)] if tests else {}
    told = [*(notes_of(newest) if tests else []), *told, *more]
    gains = {(f"stage {number}", f"stage {number + 1}"): newest[f"gain_over_stage{number}"]
             for number in range(1, len(columns)) if f"gain_over_stage{number}" in newest}
    dataset = data_facts(persons, arrays.load(folder / "train_split.npy"), trained) if persons else None

    begun, skeleton = unfinished(settings.checkpoint_dir), persons.skeleton if persons else None
    kinds = {name: error_kinds(pose, persons.truth, skeleton, persons.box_side) for name, pose in poses.items()}
    why = "Not told: there are no test persons here (no data/dataset.json)." if persons is None else \
        "Not told: there are no predictions of test persons; run: python test_stage1.py"
    unit = "torso diameters" if skeleton and skeleton.diameter else "half box sides"
    groups, person = report_persons.gallery_of(poses, kinds, persons, settings.shown)
    roads, why_no_road, road_skeleton, stale = roads_of(settings, tests, trained, persons, groups)
    told = [*stale, *told]
    shown_rows = {row for row, *_ in roads}

    def build(pictures):
        title = f"Report: {persons.dataset['dataset'] if persons else next(iter(trained.values())).dataset}" \
            if persons or trained else "Report"
        sections = [
            report_sections.training(list(trained.values()), dataset, begun),
            report_sections.scores(columns, limits, gains, told),
            report_sections.errors(kinds, skeleton, why),
            report_sections.curves(logs),
            report_sections.reliability(columns),
            report_persons.gallery(groups, person, unit, pictures, shown_rows, why),
            report_persons.roads([found[1:] for found in roads], pictures, road_skeleton, why_no_road)]
        return page(title, sections, f"{Path(settings.run_dir).resolve()}, by report.py at commit {COMMIT}")
    return build


def roads_of(settings, tests, trained, persons, groups):
    """[(row or None, name, title, facts, Road, truth or None), ...]; where there are none, why; the skeleton; and a
    list of the warning that what was tested were other weights than these."""
    rows = rows_of(settings.persons, persons, groups)
    if 1 not in trained or not (rows or settings.photos):
        if settings.photos or settings.persons:
            raise UserError(f"{Path(settings.checkpoint_dir).resolve()} holds no trained stage 1, which the road needs;"
                            " run: python train_stage1.py, or name another --checkpoint-dir, such as "
                            "checkpoints/released")
        return [], "Not shown: there is no trained stage 1 here; --checkpoint-dir names another folder, such as " \
            "checkpoints/released." if 1 not in trained else \
            "Not shown: there are no predictions of test persons here; --photos shows a photograph's.", None, []
    device = choose_device(settings.device)
    stages = load_stages(settings.checkpoint_dir, persons if rows else None, device)
    stale = [number for number, (before, stage) in enumerate(zip(stages, stages[1:]), 2)
             if stage.refines != before.fingerprint]
    warning = "".join(f" Warning: stage {number} was trained on the output of other weights." for number in stale)
    flip_test = bool(tests and (tests[max(tests)].get("settings") or {}).get("flip_test"))
    found = []
    for row in rows:
        image = persons.dataset["test"]["image"][row]
        crops = LooseCrops(persons.crops[[row]].to(device), persons.context, persons.pixels, persons.skeleton)
        group = next((title.lower() for title, _, own, _ in groups if row in own), None)
        facts = f"Test person {row}, {image}" + (f": among “{group}” of the gallery." if group else ".") + warning
        found.append((row, f"road-{row}", image, facts, road(stages, crops, 0, flip_test), persons.truth[row]))
    posing = predict.posing_of(parse_settings(vars(predict), ["-"], predict.PATHS), stages, device) \
        if settings.photos else None  # as predict.py looks, by its own constants
    for number, path in enumerate(settings.photos):
        try:
            photo = read_photo(path, posing.first.pixels, posing.least_side)
        except Unreadable as error:
            raise UserError(f"{path} can't be used: {error}; name another of --photos") from None
        poses = posing.find([photo], [None])[0]
        crops = posing.crops([photo], enlarge(poses.boxes, posing.first.context))
        x, y, side = poses.boxes[0]
        facts = f"Of {path}, {photo.size[0]} by {photo.size[1]} pixels, the square at x {x:.1f}, y {y:.1f} with a " \
            f"side of {side:.1f}, which predict.py ends with.{warning}"
        found.append((None, f"road-photo-{number}", Path(path).name, facts, road(stages, crops, 0, posing.flip_test),
                      None))
    tested = tests[max(tests)].get("fingerprints", {}) if tests else {}  # which older ones do not tell
    other = [name for number, stage in enumerate(stages, 1)
             if tested.get(name := f"stage {number}", stage.fingerprint) != stage.fingerprint]
    if not other:
        return found, None, stages[0].skeleton, []
    told = f"Warning: the scores and the gallery are of other weights of {' and '.join(other)} than those in " \
        f"{Path(settings.checkpoint_dir).resolve()}, which the trainings and roads are of; run: python test_stage" \
        f"{min(2, len(stages))}.py"
    print(told.replace("W", "w", 1))
    return found, None, stages[0].skeleton, [told]


def rows_of(wanted, persons, groups):
    """Rows of the test persons named by row or photograph; of none named the first of the gallery's first three groups.

    Raises UserError where there is no such person
    """
    if not wanted:
        return list(dict.fromkeys(rows[0] for _, _, rows, _ in groups[:3] if rows))
    if persons is None:
        raise UserError("--persons needs the test persons; prepare them, or name another --data-dir")
    images, rows = persons.dataset["test"]["image"], []
    for name in wanted:
        own = [row for row, image in enumerate(images) if image == name]  # several persons may share a photograph
        own = own or ([int(name)] if name.isdecimal() and int(name) < len(images) else [])
        if not own:
            raise UserError(f"no test person {name!r}; there are rows 0 ... {len(images) - 1}, and photographs such as "
                            f"{images[0]}")
        rows += own
    return list(dict.fromkeys(rows))


if __name__ == "__main__":
    run(main)
