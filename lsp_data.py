"""Step 1: turn the raw Leeds Sports Pose data into person crops, labels and splits.

Reads   data/raw/lsp_dataset(.zip), data/raw/lspet_dataset(.zip); downloads what is missing
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py
"""
import dataclasses
import math
import os
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deeppose import archives, arrays, near_duplicates, stored_crops
from deeppose.errors import UserError, run
from deeppose.parallel import worker_map
from deeppose.settings import parse_settings
from deeppose.skeletons import LSP

RAW_DIR = "data/raw"    # folder of the raw data, each data set as folder or zip
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
DOWNLOAD_FROM = archives.ADDRESS  # web address of the official zips
SEED = 0                # seed of the validation split and the extra copies
USE_LSPE = True         # use LSPe's 10,000 training persons beside LSP's
LSP_TRAIN_IMAGES = 1000  # LSP's images up to this number train, the others test
VALIDATION_SHARE = 0.1  # of each data set's training persons, held out for validation
CROP_SIZE = 256         # side of a stored crop, pixels
CONTEXT = 1.5           # side of a stored crop, in box sides: room for turning, scaling and shifting
TEST_BOXES = "image"    # image | joints: a test person's box is the whole image, or comes from the true joints
LEAST_EXTENT = 0.5      # joint extent taken at least for persons with missing joints, in median extents
EXTRA_COPIES = 0        # varied copies stored of each training person; training varies crops itself as well
COPY_SHIFT = 0.05       # largest shift of a copy's box, in box sides
COPY_SCALE = (0.85, 1.15)  # least and largest scale of a copy's box
COPY_FLIP = 0.5         # probability that a copy is mirrored
DUPLICATE_DISTANCE = 72  # bits of 255 by which near-duplicate photographs' hashes differ at most
LARGEST_UNREADABLE = 0.01  # share of unreadable or absent images above which the run stops
WORKERS = 0             # processes that decode; 0 = one for each core

IMAGES_PER_TASK = 400  # what a worker does at a time; few enough for the bar to move

FRAMES = {
    "labels": "crop pixels: x right, y down, pixel centres at integers; NaN = not annotated",
    "boxes": "outer edges x0, y0, side of the stored crop in its image, pixels; crop = (image + 0.5 - x0) * S / side - 0.5"
             "; of a flipped row in the mirrored image",
    "box": "what a network sees at test: the middle 1 / context of the stored crop",
    "head_sizes": "|neck - head top| in crop pixels; NaN = not annotated",
    "train_split": "0 = train, 1 = validation",
}


@dataclasses.dataclass
class Images:
    """One row an image: data set, path of its folder or zip and name there, joints (N, 14, 2) in image pixels, test?"""
    source: np.ndarray
    path: np.ndarray
    member: np.ndarray
    joints: np.ndarray
    test: np.ndarray

    def __getitem__(self, rows):
        return Images(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def __len__(self):
        return len(self.source)

    @property
    def file(self):
        return np.array([Path(member).name for member in self.member])


def main(argv=None):
    settings = parse_settings(globals(), argv)
    check(settings)
    data_dir = Path(settings.data_dir)
    raw = {name: archives.find(settings.raw_dir, name, settings.download_from)
           for name in ("lsp", "lspet")[:1 + settings.use_lspe]}
    images = list_images(raw, settings.lsp_train_images)
    workers = min(settings.workers or os.cpu_count(), math.ceil(len(images) / IMAGES_PER_TASK))
    with worker_map(workers) as parallel:
        images, sizes, thumbnails, unreadable = look_through(images, parallel)
        unreadable = absent(raw) + unreadable
        stop_if_many(unreadable, images, settings.largest_unreadable)
        edges, box_rule = boxes(images, sizes, settings)
        pairs, distances, mirrored = near_duplicates.near_pairs(thumbnails, settings.duplicate_distance)
        groups = near_duplicates.group(len(images), pairs)
        generator = np.random.default_rng(settings.seed)
        train, test = np.flatnonzero(~images.test), np.flatnonzero(images.test)
        shown_in_test = np.isin(groups, groups[test])
        held_out = near_duplicates.hold_out(groups[train], images.source[train], shown_in_test[train],
                                            settings.validation_share, generator)
        if not held_out.any():
            raise UserError(f"no validation person among {len(train)} training persons; raise --validation-share")

        rows = {"train": with_copies(train, edges, train[~held_out], settings, generator),
                "test": {"image": test, "copy": np.zeros(len(test), int), "flipped": np.zeros(len(test), bool),
                         "box": edges[test]}}
        require_space(data_dir, sum(len(part["image"]) for part in rows.values()), settings.crop_size)
        crop_edges = {split: stored_crops.enlarge(part["box"], settings.context) for split, part in rows.items()}
        with arrays.whole(data_dir / "train_images.npy") as train_file, \
                arrays.whole(data_dir / "test_images.npy") as test_file:
            for split, file in (("train", train_file), ("test", test_file)):
                write_crops(file, images[rows[split]["image"]], crop_edges[split], rows[split]["flipped"],
                            settings.crop_size, parallel, f"{split} crops")
            # an older dataset.json must not vouch for arrays of two runs, should this one break off from here on
            (data_dir / "dataset.json").unlink(missing_ok=True)
    split = np.zeros(len(rows["train"]["image"]), np.uint8)
    split[:len(train)] = held_out
    arrays.save(data_dir / "train_split.npy", split)
    for name, part in rows.items():
        save_labels(data_dir, name, images.joints[part["image"]], sizes[part["image"], 0], crop_edges[name],
                    part["flipped"], settings.crop_size)
    across = images.test[pairs[:, 0]] != images.test[pairs[:, 1]]
    duplicates = test_duplicates(images, pairs[across], distances[across], mirrored[across])
    arrays.save_json(data_dir / "dataset.json", {
        "dataset": "lsp", "joints": LSP.joints, "crop_size": settings.crop_size, "context": settings.context,
        **{name: {"source": images.source[part["image"]], "image": images.file[part["image"]],
                  "copy": part["copy"], "flipped": part["flipped"]} for name, part in rows.items()},
        "test_duplicates": duplicates,
        "near_duplicates": {"pairs": len(pairs), "groups": int((np.bincount(groups) > 1).sum())},
        "box_rule": box_rule, "settings": vars(settings),
        "sources": {name: {"path": data.path.resolve(), "sha256": data.sha256} for name, data in raw.items()},
        "frames": FRAMES, "unreadable": unreadable})
    sheet = save_picture(settings)
    report(settings, images, unreadable, rows, split, groups, pairs, duplicates, box_rule, sheet)


def check(settings):
    """Raise UserError for a setting that makes no sense."""
    for name, low, high in (("crop_size", 16, 4096), ("context", 1, 10), ("lsp_train_images", 1, 10 ** 6),
                            ("extra_copies", 0, 1000), ("copy_flip", 0, 1), ("copy_shift", 0, 1), ("workers", 0, 1024),
                            ("duplicate_distance", 0, 255), ("largest_unreadable", 0, 1), ("least_extent", 0, 1),
                            ("validation_share", 0, 0.9)):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise UserError(f"--{name.replace('_', '-')} is {value}, expected {low} ... {high}")
    low, high = settings.copy_scale
    if not 0 < low <= high:
        raise UserError(f"--copy-scale is {low} {high}, expected two factors above 0, the smaller first")


def list_images(raw, lsp_train_images):
    """All images in order of data set and number."""
    parts = []
    for name, data in raw.items():
        numbers = np.array(sorted(data.members))
        test = (numbers > lsp_train_images) & (name == "lsp")
        if name == "lsp" and (test.all() or not test.any()):
            raise UserError(f"{data.path.resolve()} holds images {numbers[0]} ... {numbers[-1]}, and those up to "
                            f"{lsp_train_images} train, the others test; change --lsp-train-images")
        parts.append(Images(np.full(len(numbers), name), np.full(len(numbers), str(data.path)),
                            np.array([data.members[n] for n in numbers]), data.joints[numbers - 1], test))
    return Images(*(np.concatenate([getattr(part, field.name) for part in parts])
                    for field in dataclasses.fields(Images)))


def tasks(images):
    """Slices of at most IMAGES_PER_TASK rows that lie in one folder or zip."""
    breaks = np.flatnonzero(images.path[1:] != images.path[:-1]) + 1
    for start, end in zip([0, *breaks], [*breaks, len(images)], strict=True):
        for low in range(start, end, IMAGES_PER_TASK):
            yield slice(low, min(low + IMAGES_PER_TASK, end))


def look_through(images, parallel):
    """Decode every image once. Returns the readable ones, sizes (N, 2), thumbnails (N, 32, 32), the others' names."""
    jobs = [(images.path[part][0], list(images.member[part])) for part in tasks(images)]
    found = [[], [], []]
    with tqdm(total=len(images), desc="reading", unit="image", leave=False, disable=None) as bar:
        for results in parallel(stored_crops.survey, jobs):
            for column, result in zip(found, results, strict=True):
                column.extend(result)
            bar.update(len(results[0]))
    sizes, thumbnails, faults = found
    readable = np.array([fault is None for fault in faults])
    unreadable = [{"source": str(source), "image": str(file), "reason": fault}
                  for source, file, fault in zip(images.source, images.file, faults, strict=True) if fault]
    return images[readable], np.array(sizes)[readable], np.array(thumbnails)[readable], unreadable


def absent(raw):
    """Rows of joints.mat that have no image."""
    return [{"source": name, "image": f"number {number}", "reason": "no such image"} for name, data in raw.items()
            for number in range(1, len(data.joints) + 1) if number not in data.members]


def stop_if_many(unreadable, images, largest_share):
    share = len(unreadable) / (len(unreadable) + len(images))
    if share > largest_share or not (images.source == "lsp").any():
        listed = "; ".join(f"{fault['source']} {fault['image']}: {fault['reason']}" for fault in unreadable[:5])
        raise UserError(f"{len(unreadable)} images ({share:.1%}) can't be read, e.g. {listed}; get the data anew, "
                        f"or raise --largest-unreadable above {share:.3f}")


def boxes(images, sizes, settings):
    """Each person's box (N, 3) by its outer edges in the image, and the numbers behind it."""
    extents = stored_crops.extents(images.joints)
    seen = (images.source == "lsp") & ~images.test & (extents > 0)
    if not seen.any():
        raise UserError("none of LSP's training images has annotated joints, which the size of LSPe's boxes comes from")
    rule = {"box_sides_per_joint_extent": float(np.median(sizes.max(1)[seen] / extents[seen])),
            "least_joint_extent_px": float(settings.least_extent * np.median(extents[~images.test]))}
    edges = stored_crops.image_boxes(sizes)  # LSP's images are person crops by their authors
    by_joints = (images.source == "lspet") | (images.test & (settings.test_boxes == "joints"))
    edges[by_joints] = stored_crops.joint_boxes(images.joints[by_joints], sizes[by_joints], *rule.values())
    return edges, rule


def with_copies(train, edges, varied, settings, generator):
    """The rows of the training arrays: every training image, then the copies of those that are not held out."""
    copies = [(varied, np.full(len(varied), copy), generator.random(len(varied)) < settings.copy_flip,
               stored_crops.vary(edges[varied], settings.copy_shift, settings.copy_scale, generator))
              for copy in range(1, settings.extra_copies + 1)]
    originals = (train, np.zeros(len(train), int), np.zeros(len(train), bool), edges[train])
    return dict(zip(("image", "copy", "flipped", "box"), map(np.concatenate, zip(originals, *copies, strict=True)),
                    strict=True))


def require_space(folder, count, size):
    """Raise UserError where the disk is too full; writing to a memory map would kill the process instead."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = count * size * size * 3, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder.resolve()} has {free / 1e9:.1f} GB free and the crops need {needed / 1e9:.1f} GB; "
                        f"make room or choose a smaller --crop-size")


def write_crops(file, images, edges, flipped, size, parallel, title):
    """Write the crops (N, size, size, 3) as .npy; edges (N, 3) in the unmirrored images."""
    np.lib.format.open_memmap(file, "w+", np.uint8, (len(images), size, size, 3))
    jobs = [(images.path[part][0], list(images.member[part]), edges[part], flipped[part], file,
             np.arange(part.start, part.stop)) for part in tasks(images)]
    with tqdm(total=len(images), desc=title, unit="image", leave=False, disable=None) as bar:
        for count in parallel(stored_crops.write, jobs):
            bar.update(count)


def save_labels(folder, split, joints, widths, edges, flipped, size):
    """Write a split's labels, boxes and head sizes; joints (N, 14, 2) and edges (N, 3) in the unmirrored images."""
    labels = stored_crops.to_crop_px(joints, edges, size)
    labels[flipped] = np.array([size - 1, 0]) + np.array([-1, 1]) * labels[flipped][:, LSP.mirror]
    boxes_px = np.where(flipped[:, None], stored_crops.mirror_edges(edges, widths), edges)
    heads = np.linalg.norm(labels[:, LSP.index("neck")] - labels[:, LSP.index("head_top")], axis=-1)
    for name, array in (("labels", labels), ("boxes", boxes_px), ("head_sizes", heads)):
        arrays.save(folder / f"{split}_{name}.npy", array.astype(np.float32))


def test_duplicates(images, pairs, distances, mirrored):
    """The test photographs that also train; pairs (P, 2) of one test and one training image each."""
    test_row = np.cumsum(images.test) - 1
    first_tests = images.test[pairs[:, 0]]
    return [{"test_row": test_row[test], "test_image": images.file[test], "train_image": images.file[train],
             "train_source": images.source[train], "distance": distance, "mirrored": turned}
            for test, train, distance, turned in zip(np.where(first_tests, *pairs.T), np.where(first_tests, *pairs.T[::-1]),
                                                     distances, mirrored, strict=True)]


def save_picture(settings, each=8):
    """Save crops of every split and data set, spread evenly over their rows, with the joints; returns the path."""
    from deeppose.drawing import contact_sheet  # not above: workers import this module and draw nothing
    data_dir, path = Path(settings.data_dir), Path(settings.run_dir) / "dataset.png"
    dataset = arrays.load_json(data_dir / "dataset.json", arrays.PREPARE)
    crops, joints, captions = [], [], []
    for split in ("train", "test"):
        images = arrays.load(data_dir / f"{split}_images.npy", mmap=True)
        labels = arrays.load(data_dir / f"{split}_labels.npy")
        source, file, copy = (np.array(dataset[split][key]) for key in ("source", "image", "copy"))
        for name in np.unique(source):
            for kind, rows in (("", np.flatnonzero((source == name) & (copy == 0))),
                               (" copy", np.flatnonzero((source == name) & (copy > 0)))):
                rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(int))]
                crops.append(images[rows])
                joints.append(labels[rows])
                captions += [f"{name} {split}{kind} {image}" for image in file[rows]]
    contact_sheet(path, np.concatenate(crops), LSP, [(np.concatenate(joints), "predicted")], captions, columns=each)
    return path


def report(settings, images, unreadable, rows, split, groups, pairs, duplicates, box_rule, sheet):
    """Print what was found, kept and skipped, and where it went."""
    lost = np.array([fault["source"] for fault in unreadable])
    print(f"{'data set':<10}{'images':>8}{'kept':>8}{'skipped':>9}")
    for name in dict.fromkeys(images.source):
        kept, skipped = (images.source == name).sum(), (lost == name).sum()
        print(f"{archives.OFFICIAL[name].title:<10}{kept + skipped:>8,}{kept:>8,}{skipped:>9,}")
    for fault in unreadable[:10]:
        print(f"  skipped {fault['source']} {fault['image']}: {fault['reason']}")
    if len(unreadable) > 10:
        print(f"  and {len(unreadable) - 10} more, listed in dataset.json")
    print(f"\n{'split':<12}{'data set':<10}{'persons':>8}{'copies':>8}{'joints annotated':>18}")
    for title, part, chosen in (("train", "train", split == 0), ("validation", "train", split == 1),
                                ("test", "test", np.ones(len(rows["test"]["image"]), bool))):
        index, copy = rows[part]["image"][chosen], rows[part]["copy"][chosen]
        for name in dict.fromkeys(images.source[index]):
            inside = images.source[index] == name
            known = ~np.isnan(images.joints[index[inside & (copy == 0)]]).any(-1)
            print(f"{title:<12}{archives.OFFICIAL[name].title:<10}{len(known):>8,}{(inside & (copy > 0)).sum():>8,}"
                  f"{known.sum():>10,} ({known.mean():5.1%})")
    print(f"\nnear-duplicate photographs: {len(pairs)} pairs, {(np.bincount(groups) > 1).sum()} groups; "
          f"{len({d['test_row'] for d in duplicates})} test photographs also train (listed in dataset.json)")
    print(f"LSPe's boxes: {box_rule['box_sides_per_joint_extent']:.3f} joint extents, of at least "
          f"{box_rule['least_joint_extent_px']:.0f} px where joints are missing")
    print(f"arrays in {settings.data_dir}, crops with their joints in {sheet}; look at it")
    moved = "" if settings.data_dir == DATA_DIR else f" --data-dir {settings.data_dir}"
    print(f"next: python train_stage1.py{moved}")


if __name__ == "__main__":
    run(main)
