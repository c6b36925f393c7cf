"""What a test run writes and prints: scores, predictions, curves and pictures of the last stage beside those before."""
import math
from pathlib import Path

import numpy as np
import torch

from . import arrays, oks
from .calibration import TOLERANCE, meaning
from .crops import box_windows, make_windows
from .drawing import contact_sheet, pdj_curves, reliability_curves
from .metrics import (
    diameters,
    distances,
    joint_hits,
    limb_hits,
    paired_bootstrap,
    part_means,
    reference_lengths,
)
from .reliability import SUREST, confidence_scores
from .reports import TITLES, cell, headlines, provenance, score, table, thresholds_to
from .stored_crops import to_image_px

SHOWN = 8  # persons of each kind on the contact sheet


def mean_pose(data_dir, count):
    """The mean of the training persons' joints in their crops, for every one of `count` persons: (count, J, 2); NaN
    where a joint is annotated on none of them."""
    labels = arrays.load(Path(data_dir, "train_labels.npy"))
    labels = labels[arrays.load(Path(data_dir, "train_split.npy")) == 0]
    seen = ~np.isnan(labels).all(0)  # (J, 2)
    mean = np.full(labels.shape[1:], np.nan, np.float32)
    mean[seen] = np.nanmean(labels[:, seen], axis=0)
    return np.broadcast_to(mean, (count, *mean.shape))


def write_test_run(run_dir, stage, poses, persons, settings, seconds, confidences=None, calibrated=(), **more):
    """Score poses, print the table and write runs/stage{stage}.json, ..._predictions.npy, ..._pdj.png, ....png, and
    where the last stage is calibrated ..._reliability.png.

    stage        number of the last stage
    poses        name -> (N, J, 2) crop pixels, in order; the last one is this stage's
    persons      the test split
    confidences  name -> (N, J), of those poses that have it: what OKS-AP ranks persons by
    calibrated   names of those whose confidence is a probability
    more         further facts for the JSON
    Returns      the JSON's content
    """
    folder, truth, skeleton, names = Path(run_dir), persons.truth, persons.skeleton, list(poses)
    scores = {name: score_persons(pose, persons) for name, pose in poses.items()}
    if "coco" in persons.dataset:
        add_oks(scores, poses, confidences or {}, persons, settings.data_dir)
    add_confidence(scores, poses, confidences or {}, calibrated, persons)
    stages = [name for name in names if name.startswith("stage")]
    gains = list(zip(stages, stages[1:]))
    content = {**scores[names[-1]]}
    for before, after in gains:
        content[f"gain_over_{before.replace(' ', '')}"] = gain(poses[before], poses[after], truth, skeleton,
                                                               persons.head_sizes, persons.box_side)
    duplicates = sorted({pair["test_row"] for pair in persons.dataset["test_duplicates"]})
    if duplicates:
        kept = np.setdiff1d(np.arange(len(truth)), duplicates)
        content["without_training_duplicates"] = score_persons(poses[names[-1]], persons, kept)
    content |= {name: scores[name] for name in names[:-1]}
    content |= {"box": box_of(persons.dataset), **more, **provenance(settings, seconds, persons.device)}

    arrays.save(folder / f"stage{stage}_predictions.npy", poses[names[-1]].astype(np.float32), "predictions")
    arrays.save_json(folder / f"stage{stage}.json", content)
    print(table(scores, gains=gains))
    note_useless(scores)
    if duplicates:
        rest = headlines(content["without_training_duplicates"])
        print(f"{names[-1]} without the {len(duplicates)} test persons whose photographs are also in training, "
              "PCP strict: "
              + ", ".join(f"{title} {cell(rate)}" for title, rate in rest.items()))
    if gains:
        print_gain(*gains[-1], content[f"gain_over_{gains[-1][0].replace(' ', '')}"])
    print_confidence(scores)

    thresholds = thresholds_of(persons)
    spans = reference_lengths(truth, skeleton, persons.box_side)
    shown = thresholds if skeleton.diameter else [threshold / 2 for threshold in thresholds]
    pdj_curves(folder / f"stage{stage}_pdj.png",
               {name: np.stack([part_means(joint_hits(pose, truth, spans, t)) for t in thresholds])
                for name, pose in poses.items()}, shown, skeleton)
    show_persons(folder / f"stage{stage}.png", poses[names[-1]], persons)
    written = [".json", "_predictions.npy", "_pdj.png", ".png"]
    reliability = folder / f"stage{stage}_reliability.png"
    if found := content.get("confidence"):
        reliability_curves(reliability, found["reliability"], found["calibration_error"])
        written.append("_reliability.png")
    else:
        reliability.unlink(missing_ok=True)  # an earlier run's
    print(f"written to {folder}: " + ", ".join(f"stage{stage}{end}" for end in written))
    return content


def note_useless(scores):
    """Print which stages are no better than the constant mean pose, by the first of the headlines."""
    rates = {name: headlines(own) for name, own in scores.items()}
    constant = rates.pop("mean pose", {})
    for name, own in rates.items():
        title = next(iter(own))
        if own[title] <= constant.get(title, math.nan):
            print(f"note: {name} is no better than the constant mean pose ({title} {own[title]:.1f}, "
                  f"{constant[title]:.1f}): see its training curves; try another --learning-rate, or more epochs")


def score_persons(pose, persons, rows=slice(None)):
    """`score` of poses (N, J, 2) of persons, or of some rows of them."""
    return score(pose[rows], persons.truth[rows], persons.head_sizes[rows], persons.skeleton, thresholds_of(persons),
                 persons.box_side)


def thresholds_of(persons):
    """The points of the data set's PDJ curve; dataset.json's "pdj_to" is the last, 0.5 where it does not tell."""
    return thresholds_to(persons.dataset.get("pdj_to", 0.5))


def box_of(dataset):
    """In words, what a network sees at test. Older dataset.json do not tell, and are LSP's."""
    whole = dataset.get("settings", {}).get("test_boxes") == "image"
    return dataset.get("box") or ("the whole image squared" if whole else "from the annotated joints")


def add_oks(scores, poses, confidences, persons, data_dir):
    """Put "oks" into each of the scores: see oks.scores."""
    edges = arrays.load(Path(data_dir, "test_boxes.npy"))
    truth = to_image_px(persons.truth, edges, persons.crop_size)
    for name, pose in poses.items():
        ranks = confidences[name].mean(1) if name in confidences else None
        found = oks.scores(to_image_px(pose, edges, persons.crop_size), truth, persons.dataset["coco"], ranks)
        scores[name]["oks"] = found
        if "AP" not in found:
            scores[name].setdefault("left_out", {})["OKS-AP"] = oks.NOT_INSTALLED


def add_confidence(scores, poses, confidences, calibrated, persons):
    """Put "confidence" into the scores of poses that are `calibrated`, "score" into those that are not but have one:
    see reliability.confidence_scores."""
    truth = persons.truth
    spans = reference_lengths(truth, persons.skeleton, persons.box_side)
    for name, confidence in confidences.items():
        hits = joint_hits(poses[name], truth, spans, TOLERANCE)
        if np.isfinite(hits).any():
            found = confidence_scores(confidence, hits, persons.skeleton.joints, name in calibrated)
            scores[name] |= {"confidence": {"means": meaning(persons.skeleton), **found}} if name in calibrated else \
                {"score": found}


def print_confidence(scores):
    """Print what the confidence of each pose is worth."""
    shares = [f"surest_{share:.0%}" for share in SUREST]
    fitted = {name: of["confidence"] for name, of in scores.items() if "confidence" in of}
    if fitted:
        titles = ["calibration error", "worst joint", "Brier score", "AUROC",
                  *(f"{share.replace('_', ' ')} right" for share in shares)]
        print(f"\nconfidence: {next(iter(fitted.values()))['means']}\n{'':16}" + "   ".join(titles))
        for name, found in fitted.items():
            errors, worst = found["calibration_error"], found["worst_joint"]
            cells = [cell(errors["all"]), f"{cell(errors.get(worst))} {worst}", f"{found['brier']:.3f}",
                     f"{found['auroc']:.3f}", *(cell(found[share]) for share in shares)]
            print(f"{name:16}" + "   ".join(text.rjust(len(title)) for title, text in zip(titles, cells)))
    for name, of in scores.items():
        if found := of.get("score"):
            print(f"{name}'s confidence is a score of no fixed meaning, until calibrate.py makes it a probability, for "
                  "which it needs enough validation persons: AUROC "
                  f"{found['auroc']:.3f}"
                  + "".join(f", {share.replace('_', ' ')} right {cell(found[share])}" for share in shares))


def gain(before, after, truth, skeleton, head_sizes, box_side):
    """Paired bootstrap over persons: points gained, with 95% interval, of the headline scores.

    before, after  (N, J, 2) poses; truth likewise, NaN = not annotated; all crop pixels
    head_sizes     (N,) crop pixels, NaN = unknown
    box_side       of every person, crop pixels
    Returns        metric -> {"gain", "low", "high"}: those that the skeleton has a reference for
    """
    def joints(reference, threshold):
        return lambda pose: joint_hits(pose, truth, reference, threshold)

    def limbs(columns):
        return lambda pose: limb_hits(pose, truth, skeleton)[:, columns]

    hits = {}
    if skeleton.diameter:
        hits["pck@0.2"] = joints(diameters(truth, skeleton), 0.2)
    else:
        hits["pck_box@0.1"] = joints(np.full(len(truth), box_side), 0.1)
    for columns in filter(len, (list(range(len(skeleton.limbs))), skeleton.paper_limb_indices)):
        hits[f"pcp_strict@0.5_mean{len(columns)}"] = limbs(columns)
    if np.isfinite(head_sizes).any():
        of, scored = joints(head_sizes, 0.5), skeleton.scored
        hits[f"pckh@0.5_mean{len(scored)}" if skeleton.unscored else "pckh@0.5"] = lambda pose: of(pose)[:, scored]
    result = {}
    for name, of_pose in hits.items():
        change, (low, high) = paired_bootstrap(of_pose(before), of_pose(after))
        result[name] = {"gain": 100 * change, "low": 100 * low, "high": 100 * high}
    return result


def print_gain(before, after, changes):
    """Print what one stage gained over the one before, by the paper's limbs where the skeleton names them.

    changes  result of `gain`
    """
    key = "pcp_strict@0.5_mean8" if "pcp_strict@0.5_mean8" in changes else next(iter(changes))
    metric, _, count = key.partition("_mean")
    title = next(title for title, name in TITLES.items() if name == metric)
    of = f" of {count} {'limbs' if metric.startswith('pcp') else 'joints'}" if count else ""
    print("{} over {}, {}{}: {gain:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}".format(
        after, before, title, of, **changes[key]))


def score_box_extensions(predict, persons, extensions):
    """Scores of boxes round the true joints, so many times as large, which no fair test knows.

    predict  function: windows (N, 2, 3) on the persons' crops -> poses (N, J, 2) tensor, crop pixels
    Returns  {"boxes": in words, extension: a result of `score` and "padded": percent of persons whose box reaches
             beyond the stored crop, ...}
    """
    found = {"boxes": "round the true joints, times the extension: uses the truth"}
    for extension in extensions:
        windows, beyond = truth_windows(persons, extension)
        pose = predict(windows).cpu().numpy()
        found[str(extension)] = score_persons(pose, persons) | {"padded": 100 * beyond.float().mean().item()}
    return found


def truth_windows(persons, extension):
    """Squares about the bounding boxes of persons' annotated joints; the box of one who has none.

    extension  of the square's side, in the bounding box's longer one
    Returns    windows (N, 2, 3) on the crops; (N,) bool, which reach beyond them and are padded there
    """
    joints, size = persons.joints_px, persons.crop_size
    known = ~joints.isnan().any(-1, keepdim=True)  # (N, J, 1)
    low, high = joints.masked_fill(~known, torch.inf).amin(1), joints.masked_fill(~known, -torch.inf).amax(1)  # (N, 2)
    sides = extension * (high - low).amax(1).clamp(min=1)  # one joint alone has no extent
    windows = make_windows((low + high) / 2, sides)
    nobody = ~known.any(1)[:, 0]
    windows[nobody] = box_windows(int(nobody.sum()), size, persons.context, joints.device)
    centres, reach = windows[:, :, 2], windows[:, :1, 0] / 2
    return windows, ((centres - reach < -0.5) | (centres + reach > size - 0.5)).any(1)


def print_box_extensions(found, name):
    """found: of `score_box_extensions`; name: of the stage."""
    rows = {extension: {"padded": scores["padded"], **headlines(scores)} for extension, scores in found.items()
            if extension != "boxes"}
    titles = list(next(iter(rows.values())))
    print(f"\n{name} on boxes {found['boxes']}, so no fair score; percent, PCP strict\nextension"
          + "".join(title.rjust(len(title) + 3) for title in titles))
    for extension, cells in rows.items():
        print(f"{extension:>9}" + "".join(cell(cells[title]).rjust(len(title) + 3) for title in titles))
    print("padded: of the persons, on whom the box reaches beyond the stored crop")


def show_persons(path, predicted, persons):
    """The best, median and worst persons by mean joint error in diameters, or where the skeleton has none in boxes,
    with true and predicted skeletons."""
    truth, skeleton = persons.truth, persons.skeleton
    spans = diameters(truth, skeleton) if skeleton.diameter else np.full(len(truth), persons.box_side)
    away = distances(predicted, truth)
    errors = np.nansum(away, 1) / np.maximum(np.isfinite(away).sum(1), 1) / np.where(spans > 0, spans, np.nan)
    order = np.argsort(errors)
    order = order[np.isfinite(errors[order])]
    count = min(SHOWN, len(order) // 3)
    middle = (len(order) - count) // 2
    chosen = np.concatenate([order[:count], order[middle:middle + count], order[len(order) - count:]])
    kinds = [kind for kind in ("best", "median", "worst") for _ in range(count)]
    if not count:  # one or two persons
        chosen, kinds = order, ["best", "worst"][:len(order)]
    images, unit = persons.dataset["test"]["image"], "diam" if skeleton.diameter else "box"
    captions = [f"{kind}: {images[i]}, {errors[i]:.2f} {unit}" for kind, i in zip(kinds, chosen)]
    crops, margin = persons.boxes_shown(chosen.tolist())
    contact_sheet(path, crops, skeleton, [(truth[chosen] - margin, "truth"), (predicted[chosen] - margin, "predicted")],
                  captions, columns=max(count, 1))
