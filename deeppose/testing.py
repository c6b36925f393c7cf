"""What a test run writes and prints: scores, predictions, curves and pictures of the last stage beside those before."""
from pathlib import Path

import numpy as np

from . import arrays
from .drawing import contact_sheet, pdj_curves
from .metrics import diameters, distances, joint_hits, limb_hits, paired_bootstrap, part_means
from .reports import THRESHOLDS, provenance, score, table

SHOWN = 8  # persons of each kind on the contact sheet


def mean_pose(data_dir, count):
    """The mean of the training persons' joints in their crops, for every one of `count` persons: (count, J, 2)."""
    labels = arrays.load(Path(data_dir, "train_labels.npy"))
    split = arrays.load(Path(data_dir, "train_split.npy"))
    return np.broadcast_to(np.nanmean(labels[split == 0], axis=0), (count, *labels.shape[1:]))


def write_test_run(run_dir, stage, poses, persons, settings, seconds, **more):
    """Score poses, print the table and write runs/stage{stage}.json, ..._predictions.npy, ..._pdj.png and ....png.

    stage    number of the last stage
    poses    name -> (N, J, 2) crop pixels, in order; the last one is this stage's
    persons  the test split
    more     further facts for the JSON
    Returns  the JSON's content
    """
    folder, truth, skeleton = Path(run_dir), persons.truth, persons.skeleton
    names = list(poses)
    scores = {name: score(pose, truth, persons.head_sizes, skeleton) for name, pose in poses.items()}
    stages = [name for name in names if name.startswith("stage")]
    gains = list(zip(stages, stages[1:]))
    content = {**scores[names[-1]]}
    for before, after in gains:
        content[f"gain_over_{before.replace(' ', '')}"] = gain(poses[before], poses[after], truth, skeleton)
    duplicates = sorted({pair["test_row"] for pair in persons.dataset["test_duplicates"]})
    if duplicates:
        kept = np.setdiff1d(np.arange(len(truth)), duplicates)
        content["without_training_duplicates"] = score(poses[names[-1]][kept], truth[kept], persons.head_sizes[kept],
                                                       skeleton)
    content |= {name: scores[name] for name in names[:-1]}
    content |= {"box": "the whole image squared" if persons.dataset["settings"]["test_boxes"] == "image" else
                "from the annotated joints", **more, **provenance(settings, seconds, persons.device)}

    arrays.save(folder / f"stage{stage}_predictions.npy", poses[names[-1]].astype(np.float32), "predictions")
    arrays.save_json(folder / f"stage{stage}.json", content)
    print(table(scores, gains=gains))
    if duplicates:
        rest = content["without_training_duplicates"]
        print(f"{names[-1]} without the {len(duplicates)} test photographs that are also in training: "
              f"PCK@0.2 {rest['pck@0.2']['mean']:.1f}, strict PCP {rest['pcp_strict@0.5']['mean10']:.1f} (10 sticks), "
              f"{rest['pcp_strict@0.5']['mean8']:.1f} (8 limbs)")
    if gains:
        change = content[f"gain_over_{gains[-1][0].replace(' ', '')}"]["pcp_strict@0.5_mean8"]
        print(f"{gains[-1][1]} over {gains[-1][0]}, strict PCP of 8 limbs: {change['gain']:+.2f} points, "
              f"95% interval {change['low']:+.2f} to {change['high']:+.2f}")

    spans = diameters(truth, skeleton)
    pdj_curves(folder / f"stage{stage}_pdj.png",
               {name: np.stack([part_means(joint_hits(pose, truth, spans, t)) for t in THRESHOLDS])
                for name, pose in poses.items()}, THRESHOLDS, skeleton)
    show_persons(folder / f"stage{stage}.png", poses[names[-1]], persons, spans)
    print(f"written to {folder}: " + ", ".join(f"stage{stage}{end}" for end in
                                               (".json", "_predictions.npy", "_pdj.png", ".png")))
    return content


def gain(before, after, truth, skeleton):
    """Paired bootstrap over persons: points gained, with 95% interval, of the headline scores."""
    spans = diameters(truth, skeleton)
    hits = {"pck@0.2": lambda pose: joint_hits(pose, truth, spans, 0.2),
            "pcp_strict@0.5_mean10": lambda pose: limb_hits(pose, truth, skeleton),
            "pcp_strict@0.5_mean8": lambda pose: limb_hits(pose, truth, skeleton)[:, skeleton.paper_limb_indices]}
    result = {}
    for name, of in hits.items():
        change, (low, high) = paired_bootstrap(of(before), of(after))
        result[name] = {"gain": 100 * change, "low": 100 * low, "high": 100 * high}
    return result


def show_persons(path, predicted, persons, spans):
    """The best, median and worst persons by mean joint error in diameters, with true and predicted skeletons."""
    truth = persons.truth
    away = distances(predicted, truth)
    errors = np.nansum(away, 1) / np.maximum(np.isfinite(away).sum(1), 1) / np.where(spans > 0, spans, np.nan)
    order = np.argsort(errors)
    order = order[np.isfinite(errors[order])]
    count = min(SHOWN, len(order) // 3)
    middle = (len(order) - count) // 2
    chosen = np.concatenate([order[:count], order[middle:middle + count], order[len(order) - count:]])
    kinds = [kind for kind in ("best", "median", "worst") for _ in range(count)]
    images = persons.dataset["test"]["image"]
    captions = [f"{kind}: {images[i]}, {errors[i]:.2f} diam" for kind, i in zip(kinds, chosen)]
    margin = round((persons.crop_size - persons.box_side) / 2)  # shown is the box, not the context round it
    crops = persons.crops[chosen.tolist(), margin:-margin or None, margin:-margin or None].cpu().numpy()
    contact_sheet(path, crops, persons.skeleton,
                  [(truth[chosen] - margin, "truth"), (predicted[chosen] - margin, "predicted")], captions,
                  columns=max(count, 1))
