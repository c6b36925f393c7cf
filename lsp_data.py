"""Step 1: turn the raw Leeds Sports Pose data into person crops, labels and splits.

Reads   data/raw/lsp_dataset(.zip), data/raw/lspet_dataset(.zip); downloads what is missing
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import contextlib
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from deeppose import archives, arrays, near_duplicates, stored_crops
from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.photographs import list_photographs, survey
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP

RAW_DIR = "data/raw"    # folder of the raw data, each data set as folder or zip
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
DOWNLOAD_FROM = archives.ADDRESS  # web address of the official zips
SEED = 0                # 0 ... 4294967295: seed of the validation split and the extra copies
USE_LSPE = True         # use LSPe's 10,000 training persons beside LSP's
LSP_TRAIN_IMAGES = 1000  # 1 ... 1000000: LSP's images up to this number train, the others test
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of each data set's training persons, held out for validation
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1 ... 10: side of a stored crop, in box sides: room for turning, scaling and shifting
TEST_BOXES = "image"    # image | joints: a test person's box is the whole image, or comes from the true joints
LEAST_EXTENT = 0.5      # 0 ... 1: joint extent taken at least for persons with missing joints, in median extents
EXTRA_COPIES = 0        # 0 ... 1000: varied copies stored of each training person; training varies crops itself as well
COPY_SHIFT = 0.05       # 0 ... 1: largest shift of a copy's box, in box sides
COPY_SCALE = (0.85, 1.15)  # 0.1 ... 10, rising: least and largest scale of a copy's box
COPY_FLIP = 0.5         # 0 ... 1: probability that a copy is mirrored
TWINS = "keep"          # keep | drop: training photographs that are test photographs too; keep is the official split
DUPLICATE_DISTANCE = 72  # 0 ... 255: bits of 255 by which near-duplicate photographs' hashes differ at most
LARGEST_UNREADABLE = 0.01  # 0 ... 1: share of absent, unreadable or misannotated images above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core


@dataclass
class Rows:
    """The rows of a split's arrays; R of them."""
    image: np.ndarray    # (R,) row of Photographs
    box: np.ndarray      # (R, 3) edges in the unmirrored image
    copy: np.ndarray     # (R,) 0 = original
    flipped: np.ndarray  # (R,) bool


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    raw = {name: archives.find(settings.raw_dir, name, settings.download_from)
           for name in ("lsp", "lspet")[:1 + settings.use_lspe]}
    images = list_photographs(raw, settings.lsp_train_images)
    with worker_map(settings.workers if len(images) > 400 else 1) as parallel:
        images, unreadable = survey(images, raw, settings.largest_unreadable, parallel)
        pairs, distances, mirrored = near_duplicates.near_pairs(images.thumbnails, settings.duplicate_distance)
        groups = near_duplicates.group(len(images), pairs)
        generator = np.random.default_rng(settings.seed)
        held_out = hold_out(images, groups, settings.validation_share, generator)
        boxes, box_rule = find_boxes(images, settings)
        train = training(images, groups, held_out, settings.twins)
        splits = {"train": with_copies(np.flatnonzero(train), boxes, held_out, settings, generator),
                  "test": originals(np.flatnonzero(images.test), boxes)}
        duplicates = test_duplicates(images, train, pairs, distances, mirrored)
        dataset = {
            "dataset": "lsp", "skeleton": LSP.plain(), "crop_size": settings.crop_size, "context": settings.context,
            **{split: {"source": images.source[rows.image], "image": images.file[rows.image], "copy": rows.copy,
                       "flipped": rows.flipped} for split, rows in splits.items()},
            "test_duplicates": duplicates,
            "near_duplicates": {"pairs": len(pairs), "groups": int((np.bincount(groups) > 1).sum())},
            "box_rule": box_rule, "settings": vars(settings),
            "sources": {name: {"path": os.path.realpath(data.path), "sha256": data.sha256, "joints_offset": data.offset}
                        for name, data in raw.items()},
            "frames": stored_crops.MEANING, "unreadable": unreadable}
        save(images, splits, held_out, dataset, settings, parallel)
    picture = save_picture(settings, splits, images)
    print_table(images, unreadable, splits, held_out)
    print(f"\nnear-duplicate photographs: {dataset['near_duplicates']['pairs']} pairs in "
          f"{dataset['near_duplicates']['groups']} groups; {len({pair['test_row'] for pair in duplicates})} test "
          f"photographs are training photographs too, listed in dataset.json")
    if settings.twins == "drop":
        print(f"left out of training: {(~images.test & ~train).sum()} photographs that are test photographs too")
    if settings.use_lspe:
        print(f"LSPe's boxes: {box_rule['box_sides_per_joint_extent']:.3f} joint extents; extents of at least "
              f"{box_rule['least_joint_extent_px']:.0f} px where joints are missing")
    print(f"arrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def hold_out(images, groups, share, generator):
    """(N,) bool, the validation persons: whole groups of near duplicates without a test photograph among them."""
    train = ~images.test
    held_out = np.zeros(len(images), bool)
    held_out[train] = near_duplicates.hold_out(groups[train], images.source[train],
                                               np.isin(groups, groups[images.test])[train], share, generator)
    if not held_out.any():
        raise UserError(f"no validation person among {train.sum()} training persons; raise --validation-share")
    return held_out


def training(images, groups, held_out, twins):
    """(N,) bool, the training and validation persons; with twins "drop" without near duplicates of test photographs."""
    train = ~images.test
    if twins == "drop":
        train &= ~np.isin(groups, groups[images.test])
    if not (train & ~held_out).any():
        raise UserError("no person is left to train on; lower --validation-share or --duplicate-distance")
    return train


def find_boxes(images, settings):
    """Each person's box (N, 3) by its outer edges in the image, and the numbers behind it."""
    extents = stored_crops.extents(images.joints)
    lsp_train = (images.source == "lsp") & ~images.test & (extents >= 1)
    if not lsp_train.any():
        raise Failure("LSP's training images have no annotated joints that span a pixel, and the size of LSPe's boxes "
                      "comes from them; get the data anew")
    rule = {"box_sides_per_joint_extent": float(np.median(images.sizes.max(1)[lsp_train] / extents[lsp_train])),
            "least_joint_extent_px": float(settings.least_extent * np.median(extents[~images.test]))}
    boxes = stored_crops.image_boxes(images.sizes)  # LSP's images are person crops by their authors
    by_joints = (images.source == "lspet") | (images.test & (settings.test_boxes == "joints"))
    boxes[by_joints] = stored_crops.joint_boxes(images.joints[by_joints], images.sizes[by_joints], *rule.values())
    return boxes, rule


def originals(rows, boxes):
    return Rows(rows, boxes[rows], np.zeros(len(rows), int), np.zeros(len(rows), bool))


def with_copies(train, boxes, held_out, settings, generator):
    """Every training image, then varied copies of those that are not held out."""
    varied = train[~held_out[train]]
    parts = [originals(train, boxes)]
    for copy in range(1, settings.extra_copies + 1):
        moved = stored_crops.vary(boxes[varied], settings.copy_shift, settings.copy_scale, generator)
        parts.append(Rows(varied, moved, np.full(len(varied), copy),
                          generator.random(len(varied)) < settings.copy_flip))
    return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def save(images, splits, held_out, dataset, settings, parallel):
    """Write the arrays and dataset.json with their digests; older ones stay until all are whole."""
    folder, size = Path(settings.data_dir), settings.crop_size
    needed = sum(len(rows.image) for rows in splits.values()) * size * size * 3
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Failure(f"{os.path.realpath(folder)} has {stored_crops.in_bytes(free)} free and the crops need "
                      f"{stored_crops.in_bytes(needed)}; make room or choose a smaller --crop-size")
    edges = {split: stored_crops.enlarge(rows.box, settings.context) for split, rows in splits.items()}
    with contextlib.ExitStack() as stack:  # the last to enter gets its name first: dataset.json comes after the arrays
        description = stack.enter_context(arrays.whole(folder / "dataset.json"))
        files = {name: stack.enter_context(arrays.whole(folder / f"{name}.npy")) for name in arrays.PREPARED}
        arrays.save(files["train_split"], held_out[splits["train"].image].astype(np.uint8), "train_split")
        for split, rows in splits.items():
            for name, array in described(images, rows, edges[split], size).items():
                arrays.save(files[f"{split}_{name}"], array.astype(np.float32), f"{split}_{name}")
        for split, rows in splits.items():
            stored_crops.write_crops(files[f"{split}_images"], images.path[rows.image], images.member[rows.image],
                                     edges[split], rows.flipped, size, parallel)
        digests = {name: arrays.digest(arrays.load(file, name, mmap=True)) for name, file in files.items()}
        arrays.save_json(description, dataset | {"digests": digests})
        # an older dataset.json must not vouch for the arrays of two runs, should this one break off from here on
        (folder / "dataset.json").unlink(missing_ok=True)


def described(images, rows, edges, size):
    """What the labels, boxes and head_sizes of one split hold; edges (R, 3) of the stored crops, before mirroring."""
    labels = stored_crops.to_crop_px(images.joints[rows.image], edges, size)
    labels[rows.flipped] = labels[rows.flipped][:, LSP.mirror] * (-1, 1) + (size - 1, 0)
    boxes = np.where(rows.flipped[:, None], stored_crops.mirror_edges(edges, images.sizes[rows.image, 0]), edges)
    heads = np.linalg.norm(np.subtract(*(labels[:, LSP.index(name)] for name in LSP.head)), axis=1)
    return {"labels": labels, "boxes": boxes, "head_sizes": heads}


def test_duplicates(images, train, pairs, distances, mirrored):
    """The pairs of a test photograph and one that `train` (N,) bool keeps."""
    test_row = np.cumsum(images.test) - 1
    across = (images.test[pairs] & train[pairs[:, ::-1]]).any(1)
    found = []
    for pair, distance, turned in zip(pairs[across], distances[across], mirrored[across], strict=True):
        train, test = sorted(pair, key=lambda row: images.test[row])
        found.append({"test_row": test_row[test], "test_image": images.file[test], "train_image": images.file[train],
                      "train_source": images.source[train], "distance": distance, "mirrored": turned})
    return found


def save_picture(settings, splits, images, each=8):
    """Save crops of each split and data set, spread evenly over their rows, with the joints; returns the path."""
    from deeppose.drawing import contact_sheet  # not above: workers import this module and draw nothing
    crops, joints, captions = [], [], []
    for split, rows in splits.items():
        crop, label = (arrays.load(Path(settings.data_dir) / f"{split}_{name}.npy", mmap=True)
                       for name in ("images", "labels"))
        kinds = np.char.add(images.source[rows.image], np.where(rows.copy > 0, " copy", ""))
        for kind in np.unique(kinds):
            chosen = np.flatnonzero(kinds == kind)
            chosen = chosen[np.linspace(0, len(chosen) - 1, min(each, len(chosen))).astype(int)]
            crops.append(crop[chosen])
            joints.append(label[chosen])
            captions += [f"{split} {kind} {file}" for file in images.file[rows.image[chosen]]]
    path = Path(settings.run_dir) / "dataset.png"
    contact_sheet(path, np.concatenate(crops), LSP, [(np.concatenate(joints), "predicted")], captions, columns=each)
    return path


def print_table(images, unreadable, splits, held_out):
    """Print what was found, kept, skipped and why, and the joints annotated in each split."""
    lost = np.array([fault["source"] for fault in unreadable])
    print(f"{'data set':<12}{'images':>10}{'kept':>10}{'skipped':>10}")
    for name in dict.fromkeys(images.source):
        kept, skipped = (images.source == name).sum(), (lost == name).sum()
        print(f"{archives.OFFICIAL[name].title:<12}{kept + skipped:>10,}{kept:>10,}{skipped:>10,}")
    for fault in unreadable[:10]:
        print("  skipped {source} {image}: {reason}".format(**fault))
    if len(unreadable) > 10:
        print(f"  and {len(unreadable) - 10} more, listed in dataset.json")
    print(f"\n{'split':<12}{'data set':<12}{'persons':>10}{'copies':>10}{'joints annotated':>19}")
    for title, split, side in (("train", "train", ~held_out), ("validation", "train", held_out),
                               ("test", "test", images.test)):
        rows = splits[split]
        for name in dict.fromkeys(images.source):
            chosen = side[rows.image] & (images.source[rows.image] == name)
            if chosen.any():
                known = ~np.isnan(images.joints[rows.image[chosen & (rows.copy == 0)]]).any(2)
                print(f"{title:<12}{archives.OFFICIAL[name].title:<12}{len(known):>10,}"
                      f"{(rows.copy[chosen] > 0).sum():>10,}{known.sum():>12,} ({known.mean():.0%})")


if __name__ == "__main__":
    run(main)
