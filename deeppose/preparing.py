"""What step 1 does for every data set: images looked at, validation persons held out, arrays and picture written."""
import contextlib
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from . import arrays, near_duplicates, stored_crops
from .errors import Failure, UserError
from .pixels import RGB, Pixels
from .raw_persons import RawPersons


@dataclass
class Surveyed:
    """persons     RawPersons that are of use, with the sizes of their images; N of them, in I images
    unreadable  list of {source, image, reason} for the others
    image       (N,) int, each person's image
    values      (I, 3) of the images, see stored_crops.survey; None where crops are to be in colours
    thumbnails  (I, 32, 32) uint8 of the images; None where they were not wanted
    """
    persons: RawPersons
    unreadable: list
    image: np.ndarray
    values: np.ndarray | None
    thumbnails: np.ndarray | None

    @property
    def pixels(self):
        """Pixels that their crops shall have; of one channel by the images of the persons to train on."""
        return RGB if self.values is None else _pixels(self.values, self.image[~self.persons.test])


@dataclass
class Rows:
    """The rows of a split's arrays; R of them."""
    person: np.ndarray   # (R,) row of RawPersons
    box: np.ndarray      # (R, 3) edges in the unmirrored image
    copy: np.ndarray     # (R,) 0 = original
    flipped: np.ndarray  # (R,) bool


def survey(persons, skeleton, largest_unreadable, parallel, lost=(), channels=3, thumbnails=False, upright=False,
           drawn_later=False):
    """Decode every image once, and leave out persons whose image can't be read or whose joints can't be theirs.

    persons             RawPersons
    largest_unreadable  share of the persons who may be of no use
    parallel            map(function, tasks), see deeppose.parallel
    lost                list of {source, image, reason}: persons who are of no use already
    channels            1 or 3, that the crops shall have; images of one channel shall all be of 8 or all of 16 bits
    thumbnails          whether those are wanted
    upright             whether images that their EXIF orientation turns are of no use
    drawn_later         whether it is not told yet who tests
    Returns             Surveyed
    Raises              Failure where too many are of no use, or nobody is left to train on or to test
    """
    if not len(persons):
        raise Failure(f"there is nobody to prepare, e.g. {_example(lost)}" if lost else "there is nobody to prepare")
    first = persons.first
    image = np.cumsum(first) - 1  # of each person, among the images
    sizes, small, image_faults, values = stored_crops.survey(persons.path[first], persons.member[first], channels,
                                                             thumbnails, parallel, upright)
    if channels == 1:
        _same_bits(values, image_faults)
    faults, sizes = image_faults[image], sizes[image]
    for row, joint in zip(*_astray(persons.joints, sizes)):
        x, y = persons.joints[row, joint]
        faults[row] = faults[row] or (f"{skeleton.joints[joint]} at ({x:g}, {y:g}), far outside the image of "
                                      f"{sizes[row, 0]} x {sizes[row, 1]} pixels")
    corners, sides = persons.boxes[:, :2], persons.boxes[:, 2:]
    for row in np.flatnonzero(stored_crops.beside(corners, corners + sides, sizes)):
        faults[row] = faults[row] or (f"a box at ({persons.boxes[row, 0]:.0f}, {persons.boxes[row, 1]:.0f}) of side "
                                      f"{persons.boxes[row, 2]:.0f}, beside the image of {sizes[row, 0]} x "
                                      f"{sizes[row, 1]} pixels")
    of_use = faults == None  # noqa: E711  an array of objects, compared one by one
    unreadable = [*lost, *({"source": persons.source[row], "image": persons.image[row], "reason": faults[row]}
                           for row in np.flatnonzero(~of_use))]
    stop_if_too_many(unreadable, of_use.sum(), largest_unreadable)
    for side, title in ((persons.test | drawn_later, "test"), (~persons.test, "train on")):
        if not of_use[side].any():
            why = f", e.g. {persons.image[side][0]}: {faults[side][0]}" if side.any() else ""
            raise Failure(f"no image to {title} can be used{why}; get the data anew")
    kept = persons.chosen(of_use)
    kept.sizes = sizes[of_use]
    images, image = np.unique(image[of_use], return_inverse=True)
    return Surveyed(kept, unreadable, image, values[images] if channels == 1 else None,
                    small[images] if thumbnails else None)


def stop_if_too_many(unreadable, others, largest):
    """Raise Failure where the persons who are of no use, listed as {source, image, reason}, are more than the share
    `largest` of them and the others."""
    share = len(unreadable) / max(1, len(unreadable) + others)
    if share > largest:
        raise Failure(f"{len(unreadable)} images ({share:.1%}) can't be used, e.g. {_example(unreadable)}; get the "
                      "data anew, or raise --largest-unreadable")


def _example(unreadable):
    return "; ".join("{source} {image}: {reason}".format(**fault) for fault in unreadable[:3])


def _same_bits(values, faults):
    """Mark the images that are not of as many bits as most; values (I, 3), see stored_crops.survey."""
    bits = values[:, 0].astype(int)
    readable = bits > 0
    usual = np.bincount(bits[readable]).argmax() if readable.any() else 0
    for row in np.flatnonzero(readable & (bits != usual)):
        faults[row] = f"{bits[row]} bits a pixel, {usual} in the other images"


def _pixels(values, trained_on):
    """Pixels of one channel: the mean and deviation of the images (I, 3) that `trained_on` names, see survey."""
    bits, mean, square = values[np.unique(trained_on)].T
    middle = float(mean.mean())
    deviation = float(np.sqrt(max(square.mean() - middle ** 2, 0)))
    return Pixels(1, int(bits[0]), (middle,), (max(deviation, 1.0),))


def _astray(joints, sizes):
    """Rows and joints (each (K,) int) of annotated joints that are further outside their image than its larger side.

    joints  (N, J, 2) image pixels
    sizes   (N, 2) width, height
    """
    reach = sizes.max(1)[:, None, None]
    outside = (joints + 0.5 < -reach) | (joints + 0.5 > sizes[:, None] + reach)  # NaN is neither
    return np.nonzero(outside.any(2))


def draw_test(groups, share, generator, setting, ways=""):
    """Choose the test persons where a data set does not: whole groups at random.

    groups   (N,) int; who shares one stays on one side
    share    of the persons, or as near below it as the groups allow
    setting  the setting that tells the share
    ways     what else helps where it is too small, in words
    Returns  (N,) bool
    Raises   UserError where nobody is chosen, or nobody left to train on
    """
    test = near_duplicates.hold_out(groups, np.full(len(groups), "all"), np.zeros(len(groups), bool), share, generator)
    if len(test) and (not test.any() or test.all()):
        raise UserError(f"no person {'to train on' if test.any() else 'to test'} among {len(groups)}, of whom up to "
                        f"{np.bincount(groups).max()} must stay together; change {setting}{ways}")
    return test


def hold_out(persons, groups, share, generator):
    """Choose the validation persons: whole groups, a share of each source's training persons.

    groups     (N,) int; who shares one stays on one side, and a group with a test person is never held out
    generator  numpy.random.Generator
    Returns    (N,) bool
    Raises     UserError where nobody is held out, or nobody left to train on
    """
    train = ~persons.test
    held_out = np.zeros(len(persons), bool)
    held_out[train] = near_duplicates.hold_out(groups[train], persons.source[train],
                                               np.isin(groups, groups[persons.test])[train], share, generator)
    if not held_out.any():
        raise UserError(f"no validation person among {train.sum()} training persons, of whom up to "
                        f"{np.bincount(groups[train]).max()} must stay together; raise --validation-share")
    if not (train & ~held_out).any():
        raise UserError("no person is left to train on; lower --validation-share")
    return held_out


def originals(rows, boxes):
    """Rows of the persons as they are; rows (R,) int, boxes (N, 3) of all persons."""
    return Rows(rows, boxes[rows], np.zeros(len(rows), int), np.zeros(len(rows), bool))


def both_splits(persons):
    """"train" and "test" -> Rows of the persons of each, as they are."""
    return {split: originals(np.flatnonzero(persons.test == (split == "test")), persons.boxes)
            for split in ("train", "test")}


def with_copies(train, boxes, held_out, count, shift, scale, flip, generator):
    """Every training person, then `count` varied copies of those who are not held out.

    train         (R,) int, rows of RawPersons
    boxes         (N, 3), held_out (N,) bool of all persons
    shift, scale  see stored_crops.vary
    flip          probability that a copy is mirrored
    """
    varied = train[~held_out[train]]
    parts = [originals(train, boxes)]
    for copy in range(1, count + 1):
        moved = stored_crops.vary(boxes[varied], shift, scale, generator)
        parts.append(Rows(varied, moved, np.full(len(varied), copy), generator.random(len(varied)) < flip))
    return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def write(data_dir, persons, splits, held_out, skeleton, pixels, crop_size, context, parallel, groups, dataset, prepare,
          box, test_duplicates=(), **facts):
    """Write the arrays and dataset.json with their digests; older ones stay until all are whole.

    persons          RawPersons, surveyed
    splits           {"train": Rows, "test": Rows}
    held_out         (N,) bool of the persons
    groups           (N,) int of the persons, as `hold_out` had them
    dataset          the data set's name
    prepare          the command that prepares it
    box              a sentence: what the box of a test person is
    test_duplicates  list of {test_row, ...}: test persons who may be in training too
    facts            what else dataset.json shall tell
    """
    folder, size = Path(data_dir), crop_size
    needed = sum(len(rows.person) for rows in splits.values()) * size * size * pixels.channels * pixels.bits // 8
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Failure(f"{os.path.realpath(folder)} has {stored_crops.in_bytes(free)} free and the crops need "
                      f"{stored_crops.in_bytes(needed)}; make room or choose a smaller --crop-size")
    edges = {split: stored_crops.enlarge(rows.box, context) for split, rows in splits.items()}
    with contextlib.ExitStack() as stack:  # the last to enter gets its name first: dataset.json comes after the arrays
        description = stack.enter_context(arrays.whole(folder / "dataset.json"))
        files = {name: stack.enter_context(arrays.whole(folder / f"{name}.npy")) for name in arrays.PREPARED}
        arrays.save(files["train_split"], held_out[splits["train"].person].astype(np.uint8), "train_split")
        for split, rows in splits.items():
            for name, array in _described(persons, rows, edges[split], skeleton, size).items():
                arrays.save(files[f"{split}_{name}"], array.astype(np.float32), f"{split}_{name}")
        for split, rows in splits.items():
            stored_crops.write_crops(files[f"{split}_images"], persons.path[rows.person], persons.member[rows.person],
                                     edges[split], rows.flipped, size, pixels, parallel)
        digests = {name: arrays.digest(arrays.load(file, name, mmap=True)) for name, file in files.items()}
        arrays.save_json(description, {
            "dataset": dataset, "prepare": prepare, "skeleton": skeleton.plain(), "pixels": pixels.plain(),
            "crop_size": size, "context": context, "box": box,
            **{split: {"source": persons.source[rows.person], "image": persons.image[rows.person],
                       "person": persons.person[rows.person], "copy": rows.copy, "flipped": rows.flipped}
               for split, rows in splits.items()},
            "train_groups": groups[splits["train"].person], "test_duplicates": list(test_duplicates), **facts,
            "frames": stored_crops.MEANING, "digests": digests})
        # an older dataset.json must not vouch for the arrays of two runs, should this one break off from here on
        (folder / "dataset.json").unlink(missing_ok=True)


def _described(persons, rows, edges, skeleton, size):
    """What the labels, boxes and head_sizes of one split hold; edges (R, 3) of the stored crops, before mirroring."""
    labels = stored_crops.to_crop_px(persons.joints[rows.person], edges, size)
    labels[rows.flipped] = labels[rows.flipped][:, skeleton.mirror] * (-1, 1) + (size - 1, 0)
    boxes = np.where(rows.flipped[:, None], stored_crops.mirror_edges(edges, persons.sizes[rows.person, 0]), edges)
    return {"labels": labels, "boxes": boxes, "head_sizes": persons.head_sizes[rows.person] * size / edges[:, 2]}


def save_picture(run_dir, data_dir, persons, splits, skeleton, each=8):
    """Save crops of each split and source, spread evenly over their rows, with the joints; returns the path."""
    from .drawing import contact_sheet  # not above: workers import this module and draw nothing
    crops, joints, captions = [], [], []
    for split, rows in splits.items():
        crop, label = (arrays.load(Path(data_dir) / f"{split}_{name}.npy", mmap=True) for name in ("images", "labels"))
        kinds = np.char.add(persons.source[rows.person].astype(str), np.where(rows.copy > 0, " copy", ""))
        for kind in np.unique(kinds):
            chosen = np.flatnonzero(kinds == kind)
            chosen = chosen[np.linspace(0, len(chosen) - 1, min(each, len(chosen))).astype(int)]
            crops.append(crop[chosen])
            joints.append(label[chosen])
            captions += [f"{split} {kind} {file}" for file in persons.image[rows.person[chosen]]]
    path = Path(run_dir) / "dataset.png"
    contact_sheet(path, np.concatenate(crops), skeleton, [(np.concatenate(joints), "predicted")], captions,
                  columns=each)
    return path


def print_table(persons, unreadable, splits, held_out, titles=None):
    """Print what was found, kept, skipped and why, and the joints annotated in each split.

    titles  source -> what it is called in the table; None = as it is
    """
    titles = titles or {}
    lost = np.array([fault["source"] for fault in unreadable], object)
    print(f"{'data set':<12}{'persons':>10}{'kept':>10}{'skipped':>10}")
    for name in dict.fromkeys(persons.source):
        kept, skipped = (persons.source == name).sum(), (lost == name).sum()
        print(f"{titles.get(name, name):<12}{kept + skipped:>10,}{kept:>10,}{skipped:>10,}")
    for fault in unreadable[:10]:
        print("  skipped {source} {image}: {reason}".format(**fault))
    if len(unreadable) > 10:
        print(f"  and {len(unreadable) - 10} more, listed in dataset.json")
    print(f"\n{'split':<12}{'data set':<12}{'persons':>10}{'copies':>10}{'joints annotated':>19}")
    for title, split, side in (("train", "train", ~held_out), ("validation", "train", held_out),
                               ("test", "test", persons.test)):
        rows = splits[split]
        for name in dict.fromkeys(persons.source):
            chosen = side[rows.person] & (persons.source[rows.person] == name)
            if chosen.any():
                known = ~np.isnan(persons.joints[rows.person[chosen & (rows.copy == 0)]]).any(2)
                print(f"{title:<12}{titles.get(name, name):<12}{len(known):>10,}"
                      f"{(rows.copy[chosen] > 0).sum():>10,}{known.sum():>12,} ({known.mean():.0%})")
