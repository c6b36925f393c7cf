"""Step 1 for COCO keypoints, of people or of anything else: turn images and annotations into crops, labels and splits.

Reads   data/raw/coco/ or, where that is not there, data/raw/ itself:
        train.json              COCO's keypoint JSON: images, annotations and categories (--train, several if you like)
        images/, .zip or .tar   the images that it names (--train-images)
        and likewise for the test images with --test and --test-images; without --test a share of the images tests
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py

Joints and limbs are those of the file's category; docs/own_dataset.md tells what their names should tell.
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import os
from dataclasses import dataclass, fields, replace

import numpy as np

from deeppose import archives, coco_json, near_duplicates, stored_crops
from deeppose.claims import claimed
from deeppose.parallel import worker_map
from deeppose.person_boxes import squares
from deeppose.preparing import both_splits, draw_test, hold_out, print_table, save_picture, survey, write
from deeppose.raw_files import find_images, located, named, raw_home
from deeppose.raw_persons import RawPersons, objects
from deeppose.settings import next_command, parse_settings
from deeppose.skeleton_names import alone

RAW_DIR = "data/raw"    # folder of the raw data, or the one that holds it as coco/
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
TRAIN: tuple[str, ...] = ("train.json",)  # files of the training annotations
TRAIN_IMAGES = "images"  # folder of their images, or zip or tar
TEST: tuple[str, ...] = ()  # files of the test annotations; empty = TEST_SHARE of the persons tests
TEST_IMAGES = "images"  # folder of their images, or zip or tar
CATEGORY = ""           # name of the category; empty = the only one that has keypoints
PAIRS: tuple[str, ...] = ()  # joints that a mirror exchanges, right=left each; empty = as left and right in their names
DIAMETER: tuple[str, ...] = ()  # the torso's ends, the upper first; empty = left shoulder and right hip if named so
HEAD: tuple[str, ...] = ()  # two joints whose distance is the head's; empty = neck and head top if named so
CHANNELS = "three"      # three | one: crops in colour, or as grey or depth images store it, in 8 or 16 bits
SEED = 0                # 0 ... 4294967295: seed of the splits
TEST_SHARE = 0.2        # 0.001 ... 0.9: of the persons, test persons where TEST is empty; all of an image or none
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of the training persons, held out for validation
BLOCK = 0               # 0 ... 1000000: neighbouring frames of films that stay together, by file name; 0 = photographs
DUPLICATE_DISTANCE = 72  # 0 ... 255: bits of 255 by which near-duplicate photographs' hashes differ at most
DUPLICATES_UP_TO = 20000  # 0 ... 1000000: photographs among which near duplicates are looked for, all by all
BOXES = "bbox"          # bbox | joints: a box comes from the annotated bbox, or from the true joints, at test as well
BOX_EXTENSION = 1.25    # 0.1 ... 10: side of a box, in the longer side of bbox or of the joints' extent
LEAST_EXTENT = 0.5      # 0.0 ... 1: joint extent taken at least for persons with missing joints, in median extents
FIRST_PIXEL = 0.0       # 0.0 ... 1: what joints count the first pixel's centre as: COCO 0; 0.5 if its corner is 0
SIGMA = 0.05            # 0.001 ... 1: of each joint in OKS, for skeletons that are not COCO's own
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1.0 ... 10: side of a stored crop, in box sides: room for turning, scaling and shifting
LARGEST_UNREADABLE = 0.01  # 0.0 ... 1: share of persons with unreadable images or annotations above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core

@dataclass
class CocoPersons(RawPersons):
    """image_id, annotation_id  (N,) object, as the JSON has them
    area                     (N,) float64, square pixels, of bbox where the JSON has none
    bbox                     (N, 4) float64 x, y, width, height, counted from the image's corner
    told                     (N, 2) int, width and height of the image as the JSON tells them; 0 = not told
    group                    (N,) int, who shares one stays on one side: of an image, or a block of neighbouring frames
    """
    image_id: np.ndarray = None
    annotation_id: np.ndarray = None
    area: np.ndarray = None
    bbox: np.ndarray = None
    told: np.ndarray = None
    group: np.ndarray = None


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    home, generator = raw_home(settings.raw_dir, "coco"), np.random.default_rng(settings.seed)
    files = {split: [located(home, name, split) for name in getattr(settings, split)]
             for split in ("train", "test")}
    if not files["train"]:
        raise UserError("no file to train on; name some with --train")
    folders = {split: find_images(home, getattr(settings, f"{split}_images"), f"{split}-images")
               for split, paths in files.items() if paths}
    persons, lost, skeleton, left_out, ignored = list_persons(files, folders, settings)
    if settings.boxes == "bbox":
        persons.boxes = squared(persons.bbox, settings.box_extension)
    hashed = not settings.block and persons.first.sum() <= settings.duplicates_up_to
    with worker_map(settings.workers if len(persons) > 400 else 1) as parallel:
        found = survey(persons, skeleton, settings.largest_unreadable, parallel, lost,
                       channels=3 if settings.channels == "three" else 1, thumbnails=hashed, upright=True,
                       drawn_later=not files["test"])
        persons = found.persons
        check_sizes(persons)
        groups, pairs = near_duplicate_groups(found, settings.duplicate_distance) if hashed else (persons.group, ())
        if not files["test"]:
            ways = ", lower --duplicate-distance, set --block for the frames of films" if hashed else ", lower --block"
            persons.test = draw_test(groups, settings.test_share, generator, "--test-share",
                                     f"{ways}, or name test files with --test")
        skeleton, without = with_torso(skeleton, persons, settings)
        try:
            held_out = hold_out(persons, groups, settings.validation_share, generator)
        except UserError as error:
            raise UserError(f"{error}, or choose a smaller --block or --duplicate-distance") from None
        persons.boxes, box = find_boxes(persons, settings)
        splits = both_splits(persons)
        duplicates = test_duplicates(persons, found.image, pairs)
        write(settings.data_dir, persons, splits, held_out, skeleton, found.pixels, settings.crop_size,
              settings.context, parallel, groups, dataset="coco", prepare="python coco_data.py", box=box,
              test_duplicates=duplicates, near_duplicates={"looked_for": bool(hashed), "pairs": len(pairs)},
              settings=vars(settings), unreadable=found.unreadable, left_out=left_out,
              **oks_facts(persons.chosen(persons.test), coco_json.sigmas(skeleton, settings.sigma), ignored),
              sources={os.path.realpath(path): archives.sha256_of(path) for paths in files.values() for path in paths})
    picture = save_picture(settings.run_dir, settings.data_dir, persons, splits, skeleton)
    print_table(persons, found.unreadable, splits, held_out)
    print()
    for why, count in left_out.items():
        print(f"left out: {count:,} {why}")
    print(f"skeleton: {len(skeleton.joints)} joints, {len(skeleton.limbs)} limbs; mirror pairs: "
          f"{' '.join('='.join(pair) for pair in skeleton.pairs) or 'none'}; torso: "
          f"{' to '.join(skeleton.diameter) or 'none'}; head: {' to '.join(skeleton.head) or 'none'}")
    if not settings.pairs and (unpaired := alone(skeleton)):
        print(f"note: by their names these belong to a side, and have no partner on the other: {', '.join(unpaired)}; "
              "mirrored, they keep their names. --pairs right=left tells partners otherwise")
    if without:
        print(without)
    seen = (~np.isnan(persons.joints[held_out]).any(2)).sum(0)
    if seldom := [name for name, count in zip(skeleton.joints, seen) if count < 3]:
        print(f"note: annotated on fewer than three validation persons: {', '.join(seldom)}. Stage 1 can be trained, "
              "later ones can't; raise --validation-share, or take such joints out of the annotations")
    print(f"box: {box}")
    if hashed:
        print(f"near-duplicate photographs: {len(pairs)} pairs; {len({pair['test_row'] for pair in duplicates})} test "
              "persons are in training photographs too, listed in dataset.json")
    elif not settings.block:
        print("near-duplicate photographs were not looked for: there are more than --duplicates-up-to")
    print(f"arrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def list_persons(files, folders, settings):
    """All persons, those of an image one after another.

    files    "train" and "test" -> paths of annotation files
    folders  the same -> path of the folder, zip or tar of images, and what their names in there begin with
    Returns  CocoPersons, list of {source, image, reason}, Skeleton, why -> how many were left out, and what OKS-AP
             ignores, (image_id, area, bbox, iscrowd)
    Raises   Failure where a file is none of COCO's, UserError where settings do not fit it
    """
    parts, lost, left_out, skeleton, ignored = [], [], {}, None, []
    several = len(files["test"] or files["train"]) > 1  # files of test persons, whose image ids may be the same

    def named_by(path, image_id):
        return f"{os.path.realpath(path)}: {image_id}" if several else image_id

    for split, path in ((split, path) for split, paths in files.items() for path in paths):
        file = coco_json.read_file(path)
        category = coco_json.choose_category(file, settings.category)
        own = coco_json.make_skeleton(path, category, settings.pairs, settings.diameter, settings.head)
        if own != (skeleton := skeleton or own):
            raise UserError(f"{os.path.realpath(path)} and {os.path.realpath(files['train'][0])} differ in their "
                            "keypoints or skeleton; leave one of them out")
        part, faults = persons_of(file, category["id"], skeleton, *folders[split], split == "test", settings)
        parts.append(part)
        lost += faults
        part.image_id = objects([named_by(path, image_id) for image_id in part.image_id])
        if split == "test" or not files["test"]:
            ignored += [(named_by(path, image_id), *more) for of, image_id, *more in file.ignored
                        if of == category["id"]]
        for why, count in file.left_out.items():
            left_out[why] = left_out.get(why, 0) + count
    persons = CocoPersons(*(None if field.name == "sizes" else np.concatenate([getattr(part, field.name)
                                                                              for part in parts])
                            for field in fields(CocoPersons)))
    if not len(persons) and not lost:
        why = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
        raise Failure(f"there is nobody to prepare; left out: {why or 'nobody, for there is no annotation'}")
    images = {}
    image = np.array([images.setdefault(key, len(images)) for key in zip(persons.path, persons.member)], int)
    both = np.isin(image, image[persons.test]) & ~persons.test
    lost += [{"source": persons.source[row], "image": persons.image[row], "reason": "a test image, too"}
             for row in np.flatnonzero(both)]
    rows = np.argsort(image, kind="stable")
    rows = rows[~both[rows]]
    persons, image = persons.chosen(rows), image[rows]
    place = np.arange(len(rows))
    persons.person = place - np.maximum.accumulate(place * persons.first)
    persons.group = image
    if settings.block:
        for side in (persons.test, ~persons.test):  # apart, since a block with a test image would not be held out
            persons.group[side] = near_duplicates.blocks(persons.member[side], settings.block)
        persons.group[persons.test] += len(images)
    return persons, lost, skeleton, left_out, ignored


def persons_of(file, category, skeleton, folder, within, test, settings):
    """The persons of a category in a CocoFile: CocoPersons, and a list of the lost. folder, within: see find_images."""
    where, source = os.path.realpath(file.path), file.path.stem
    found = file.persons.pop(category, None) or coco_json.Annotated(len(skeleton.joints))
    for others in file.persons.values():
        file.leave_out("annotations of other categories", len(others.numbers))
    if found.joints != len(skeleton.joints):
        raise Failure(f"{where}: annotations[{found.numbers[0]}] has {found.joints} keypoints, expected the "
                      f"{len(skeleton.joints)} that its category names")
    points = np.frombuffer(found.points).reshape(-1, found.joints, 3)  # (N * J * 3,) -> (N, J, 3)
    joints = np.where(points[..., 2:] > 0, points[..., :2] - settings.first_pixel, np.nan)
    boxes = np.frombuffer(found.boxes).reshape(-1, 5)
    if settings.boxes == "bbox" and (rows := np.flatnonzero(np.isnan(boxes[:, 0]))).size:
        raise Failure(f"{where}: annotations[{found.numbers[rows[0]]}] lacks 'bbox', expected x, y, width, height; add "
                      "it, or take boxes from the joints with --boxes joints")
    images = [file.images.get(image) for image in found.image_ids]
    names = list(dict.fromkeys(image[0] for image in images if image))
    members, faults = (dict(zip(names, values)) for values in named(folder, names, within))
    flat = (boxes[:, 2:4] <= 0).any(1)
    corners, sides = np.split(squared(boxes[:, :4], settings.box_extension)[:, None], [2], axis=2)
    within_square = joints + 0.5 - corners  # on its edge is in it
    empty = ~((within_square >= -1) & (within_square <= sides + 1)).all(2).any(1)
    if settings.boxes == "joints":  # which are looked at; what is no bbox is as none
        boxes = np.where(flat[:, None] & (np.arange(5) < 4), np.nan, boxes)  # not the area
        flat[:] = empty[:] = False
    lost, kept = [], []
    for row, (number, image) in enumerate(zip(found.numbers, images)):
        fault = "its image_id is none of the images" if image is None else faults[image[0]]
        if not fault and (flat[row] or empty[row]):
            fault = "bbox of {2:g} x {3:g} pixels at ({0:g}, {1:g})".format(*boxes[row]) \
                + " holds none of the joints" * (not flat[row]) + "; see --boxes joints"
        if fault:
            lost.append({"source": source, "image": f"annotations[{number}]" + (f" in {image[0]}" if image else ""),
                         "reason": fault})
        else:
            kept.append(row)
    place = {image: number for number, image in enumerate(file.images)}
    kept.sort(key=lambda row: place[found.image_ids[row]])  # annotations come in any order
    joints, names = joints[kept], objects([images[row][0] for row in kept])
    ends = [joints[:, skeleton.index(name)] for name in skeleton.head]
    return CocoPersons(
        source=np.full(len(kept), source), path=objects([str(folder)] * len(kept)),
        member=objects([members[name] for name in names]), image=names, joints=joints, test=np.full(len(kept), test),
        boxes=np.full((len(kept), 3), np.nan), person=np.zeros(len(kept), int), group=np.zeros(len(kept), int),
        head_sizes=np.linalg.norm(ends[0] - ends[1], axis=1) if ends else np.full(len(kept), np.nan),
        image_id=objects(found.image_ids)[kept], annotation_id=objects(found.ids)[kept], area=boxes[kept, 4],
        bbox=boxes[kept, :4], told=np.array([images[row][1:] for row in kept], int).reshape(-1, 2)), lost


def with_torso(skeleton, persons, settings):
    """The skeleton, without the torso that its names tell of where nobody to train on or nobody to test has it; and a
    sentence on that, "" where it stays.

    Raises UserError where the settings name such
    """
    ends = list(map(skeleton.index, skeleton.diameter))
    known = ~np.isnan(persons.joints[:, ends]).any((1, 2))
    nobody = [title for title, side in (("to train on", ~persons.test), ("to test", persons.test))
              if not known[side].any()]
    if not nobody:
        return skeleton, ""
    why = f"nobody {nobody[0]} has both {' and '.join(skeleton.diameter)} annotated"
    if settings.diameter:
        raise UserError(f"--diameter: {why}; name two others")
    return replace(skeleton, diameter=()), f"no torso, and no scores that are measured with it: {why}"


def check_sizes(persons):
    """Raise Failure where an image has not the size that the JSON tells: it was turned or scaled since."""
    wrong = ((persons.told > 0) & (persons.told != persons.sizes)).any(1)
    for row in np.flatnonzero(wrong)[:1]:
        size, told = (f"{width} x {height}" for width, height in (persons.sizes[row], persons.told[row]))
        raise Failure(f"{persons.image[row]} has {size} pixels and {persons.source[row]}.json tells {told}, as of "
                      f"{len(set(persons.image[wrong]))} images in all: joints would not fit; save images upright, and "
                      "at the size at which they were annotated")


def near_duplicate_groups(found, distance):
    """Each person's group (N,) int, and the pairs of images that are nearly alike: (first, second, bits, mirrored)."""
    try:
        pairs, distances, mirrored = near_duplicates.near_pairs(found.thumbnails, distance)
    except UserError as error:
        raise UserError(f"{error}, or, where they are frames of films, set --block") from None
    groups = near_duplicates.group(len(found.thumbnails), pairs)
    return groups[found.image], list(zip(*pairs.T, distances, mirrored))


def test_duplicates(persons, image, pairs):
    """The test persons in images that are nearly alike one to train on.

    image    (N,) int, each person's
    pairs    see near_duplicate_groups
    Returns  list of {test_row, ...}
    """
    first = np.unique(image, return_index=True)[1]  # a person of each image
    found = []
    for *pair, distance, mirrored in pairs:
        train, test = sorted(pair, key=lambda number: persons.test[first[number]])
        if persons.test[first[test]] and not persons.test[first[train]]:
            found += [{"test_row": row, "test_image": persons.image[first[test]],
                       "train_image": persons.image[first[train]], "train_source": persons.source[first[train]],
                       "distance": distance, "mirrored": mirrored}
                      for row in np.flatnonzero(image[persons.test] == test)]
    return found


def oks_facts(persons, sigmas, ignored):
    """What the OKS of test persons needs, see deeppose.oks; nothing where one of them has no bbox. ignored: see
    `list_persons`."""
    if np.isnan(persons.bbox).any():
        print("OKS will be left out of the scores: there are annotations without bbox")
        return {}
    tested = set(persons.image_id)
    near = [own for own in ignored if own[0] in tested]
    return {"coco": {"image_id": persons.image_id, "annotation_id": persons.annotation_id, "area": persons.area,
                     "bbox": persons.bbox, "sigmas": sigmas,
                     "ignored": dict(zip(("image_id", "area", "bbox", "iscrowd"), map(list, zip(*near))))}}


def squared(bbox, extension):
    """Squares round bboxes (N, 4), x, y, width and height: edges (N, 3), see `squares`."""
    return squares(np.column_stack([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]]), extension)


def find_boxes(persons, settings):
    """Each person's box (N, 3) by its outer edges in the image, and a sentence on it."""
    if settings.boxes == "bbox":
        return persons.boxes, f"the annotated bbox squared x {settings.box_extension:g}"
    if len(persons.joints[0]) == 1:
        raise UserError("--boxes joints: a skeleton of one joint has no extent; take --boxes bbox")
    least = settings.least_extent * np.median(stored_crops.extents(persons.joints)[~persons.test])
    return (stored_crops.joint_boxes(persons.joints, persons.sizes, settings.box_extension, least),
            f"from the annotated joints x {settings.box_extension:g}")


if __name__ == "__main__":
    run(main)
