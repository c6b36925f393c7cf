"""Step 1: turn the raw Leeds Sports Pose data into person crops, labels and splits.

Reads   data/raw/lsp_dataset(.zip), data/raw/lspet_dataset(.zip); downloads what is missing
Writes  data/{train,test}_{images,labels,boxes,head_sizes}.npy, data/train_split.npy, data/dataset.json
        runs/dataset.png    crops with their joints, to see that the labels fit
Next    python train_stage1.py

Layouts, for lsp and lspet (LSP's extension) alike
    lsp_dataset/ or lsp_dataset.zip    images/ and joints.mat, wherever in their tree they lie
    images_1/, joints_1.mat            side by side in the raw folder (lspet: images_2/, joints_2.mat)
    images/, joints.mat                in the raw folder itself (lsp only)
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import hashlib
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io

from deeppose import archives, near_duplicates, stored_crops
from deeppose.archives import Unreadable
from deeppose.claims import claimed
from deeppose.downloads import download
from deeppose.parallel import worker_map
from deeppose.preparing import hold_out, originals, print_table, save_picture, survey, with_copies, write
from deeppose.raw_persons import RawPersons, objects
from deeppose.settings import next_command, parse_settings
from deeppose.skeletons import LSP

ADDRESS = "https://sam.johnson.io/research"

RAW_DIR = "data/raw"    # folder of the raw data, each data set as folder or zip
DATA_DIR = "data"       # folder for the arrays
RUN_DIR = "runs"        # folder for the picture of crops
DOWNLOAD_FROM = ADDRESS  # web address of the official zips
SEED = 0                # 0 ... 4294967295: seed of the validation split and the extra copies
TRAIN_ON = "both"       # both | lsp: LSP's own training persons and LSPe's 10,000, or LSP's alone
LSP_TRAIN_IMAGES = 1000  # 1 ... 1000000: LSP's images up to this number train, the others test
VALIDATION_SHARE = 0.1  # 0.001 ... 0.9: of each data set's training persons, held out for validation
CROP_SIZE = 256         # 16 ... 4096: side of a stored crop, pixels
CONTEXT = 1.5           # 1.0 ... 10: side of a stored crop, in box sides: room for turning, scaling and shifting
TEST_BOXES = "image"    # image | joints: a test person's box is the whole image, or comes from the true joints
LEAST_EXTENT = 0.5      # 0.0 ... 1: joint extent taken at least for persons with missing joints, in median extents
EXTRA_COPIES = 0        # 0 ... 1000: varied copies stored of each training person; training varies crops itself as well
COPY_SHIFT = 0.05       # 0.0 ... 1: largest shift of a copy's box, in box sides
COPY_SCALE = (0.85, 1.15)  # 0.1 ... 10, rising: least and largest scale of a copy's box
COPY_FLIP = 0.5         # 0.0 ... 1: probability that a copy is mirrored
TWINS = "keep"          # keep | drop: training photographs that nearly duplicate test ones; keep = official split
DUPLICATE_DISTANCE = 72  # 0 ... 255: bits of 255 by which near-duplicate photographs' hashes differ at most
LARGEST_UNREADABLE = 0.01  # 0.0 ... 1: share of absent, unreadable or misannotated images above which the run stops
WORKERS = 0             # 0 ... 61: processes that decode; 0 = one for each core


@dataclass(frozen=True)
class Official:
    """One data set as its authors publish it.

    Both sets' coordinates count from the centre of a larger image's first pixel and were then multiplied by the scale
    of the image that is published. That centre lies scale / 2 from the image's edge, not 1/2, so they come out about
    (1 - scale) / 2 too large. `offset` is what was measured along x on training and validation persons
    (benchmarks/lsp_labels.py); along y the coordinates were made by the same steps.
    """
    title: str
    file: str     # name of the zip
    images: int
    sha256: str   # of the zip
    suffix: str   # of images_<suffix>/ and joints_<suffix>.mat
    shape: tuple  # of joints in joints.mat; None = number of images
    joints_sha256: str  # of joints.mat
    offset: float  # by which its coordinates are too large where pixels' centres count from 0, image pixels, x and y


OFFICIAL = {
    "lsp": Official("LSP", "lsp_dataset.zip", 2000,
                    "a6c9faf96629441cd7ced44c1a814c8157349666b8c96be69dc4ccf5558180cc", "1", (3, 14, None),
                    "ddcfcbe904106bfbf26561c8d11720ca62a11c7a861548064b3bae84cb396b2a", 0.35),
    "lspet": Official("LSPe", "lspet_dataset.zip", 10000,
                      "5ddde9ccf919b23a25aacf8b3fad9411b48d07d12a0e4fec74fe80ac663e4dfc", "2", (14, 3, None),
                      "cc66465117888d9f43aac78c15c4548e37df5022640a193f2002fd084cba13ef", 0.15),
}


@dataclass(frozen=True)
class RawData:
    """path     folder or zip
    members  image number -> the image's name inside `path`
    joints   (N, 14, 2) float64, image pixels, centres at integers; may be infinite; row k belongs to image number
             k + 1; NaN = not annotated
    sha256   of the zip, or of joints.mat in a folder
    offset   joints as published less `joints`, image pixels: the known one of the official joints.mat; 0 of another,
             such as that of the images before they were scaled down
    """
    name: str
    path: Path
    members: dict
    joints: np.ndarray
    sha256: str
    offset: float = 0.0


def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.data_dir, "arrays"), claimed(settings.run_dir, "picture of crops"):
        prepare(settings)
    print(next_command(globals(), settings, "train_stage1.py"))


def prepare(settings):
    """Read the raw data, write arrays and picture, and print what was found."""
    raw = {name: find(settings.raw_dir, name, settings.download_from)
           for name in ("lsp", "lspet")[:1 + (settings.train_on == "both")]}
    persons, absent = list_persons(raw, settings.lsp_train_images)
    generator = np.random.default_rng(settings.seed)
    with worker_map(settings.workers if len(persons) > 400 else 1) as parallel:
        found = survey(persons, LSP, settings.largest_unreadable, parallel, absent, thumbnails=True)
        persons = found.persons
        pairs, distances, mirrored = near_duplicates.near_pairs(found.thumbnails, settings.duplicate_distance)
        groups = near_duplicates.group(len(persons), pairs)
        held_out = hold_out(persons, groups, settings.validation_share, generator)
        persons.boxes, box_rule = find_boxes(persons, settings)
        train = training(persons, groups, held_out, settings.twins)
        splits = {"train": with_copies(np.flatnonzero(train), persons.boxes, held_out, settings.extra_copies,
                                       settings.copy_shift, settings.copy_scale, settings.copy_flip, generator),
                  "test": originals(np.flatnonzero(persons.test), persons.boxes)}
        duplicates = test_duplicates(persons, train, pairs, distances, mirrored)
        groups_of_several = int((np.bincount(groups) > 1).sum())
        write(settings.data_dir, persons, splits, held_out, LSP, found.pixels, settings.crop_size, settings.context,
              parallel, groups, dataset="lsp", prepare="python lsp_data.py", test_duplicates=duplicates,
              box="the whole image squared" if settings.test_boxes == "image" else "from the annotated joints",
              near_duplicates={"pairs": len(pairs), "groups": groups_of_several}, box_rule=box_rule,
              settings=vars(settings), unreadable=found.unreadable,
              sources={name: {"path": os.path.realpath(data.path), "sha256": data.sha256, "joints_offset": data.offset}
                       for name, data in raw.items()})
    picture = save_picture(settings.run_dir, settings.data_dir, persons, splits, LSP)
    print_table(persons, found.unreadable, splits, held_out, {name: OFFICIAL[name].title for name in OFFICIAL})
    print(f"\nnear-duplicate photographs: {len(pairs)} pairs in {groups_of_several} groups; "
          f"{len({pair['test_row'] for pair in duplicates})} test photographs are training photographs too, listed in "
          "dataset.json")
    if settings.twins == "drop":
        print(f"left out of training: {(~persons.test & ~train).sum()} photographs that are test photographs too")
    if settings.train_on == "both":
        print(f"LSPe's boxes: {box_rule['box_sides_per_joint_extent']:.3f} joint extents; extents of at least "
              f"{box_rule['least_joint_extent_px']:.0f} px where joints are missing")
    print(f"arrays in {settings.data_dir}, crops with their joints in {picture}: see that they fit")


def training(persons, groups, held_out, twins):
    """(N,) bool, the training and validation persons; with twins "drop" without near duplicates of test photographs."""
    train = ~persons.test
    if twins == "drop":
        train &= ~np.isin(groups, groups[persons.test])
    if not (train & ~held_out).any():
        raise UserError("no person is left to train on; lower --validation-share or --duplicate-distance")
    return train


def find_boxes(persons, settings):
    """Each person's box (N, 3) by its outer edges in the image, and the numbers behind it."""
    extents = stored_crops.extents(persons.joints)
    lsp_train = (persons.source == "lsp") & ~persons.test & (extents >= 1)
    if not lsp_train.any():
        raise Failure("LSP's training images have no annotated joints that span a pixel, and the size of LSPe's boxes "
                      "comes from them; get the data anew")
    rule = {"box_sides_per_joint_extent": float(np.median(persons.sizes.max(1)[lsp_train] / extents[lsp_train])),
            "least_joint_extent_px": float(settings.least_extent * np.median(extents[~persons.test]))}
    boxes = stored_crops.image_boxes(persons.sizes)  # LSP's images are person crops by their authors
    by_joints = (persons.source == "lspet") | (persons.test & (settings.test_boxes == "joints"))
    boxes[by_joints] = stored_crops.joint_boxes(persons.joints[by_joints], persons.sizes[by_joints], *rule.values())
    return boxes, rule


def test_duplicates(persons, train, pairs, distances, mirrored):
    """The pairs of a test photograph and one that `train` (N,) bool keeps."""
    test_row = np.cumsum(persons.test) - 1
    across = (persons.test[pairs] & train[pairs[:, ::-1]]).any(1)
    found = []
    for pair, distance, turned in zip(pairs[across], distances[across], mirrored[across], strict=True):
        train, test = sorted(pair, key=lambda row: persons.test[row])
        found.append({"test_row": test_row[test], "test_image": persons.image[test],
                      "train_image": persons.image[train], "train_source": persons.source[train],
                      "distance": distance, "mirrored": turned})
    return found


def list_persons(raw, lsp_train_images):
    """All persons in order of data set and number: a row an image.

    raw               data set -> RawData, "lsp" among them
    lsp_train_images  LSP's images up to this number train, the others test
    Returns           RawPersons, and a list of {source, image, reason} for images that are absent
    Raises            UserError where a side stays empty
    """
    numbers = {name: np.array(sorted(data.members)) for name, data in raw.items()}
    if not numbers["lsp"][0] <= lsp_train_images < numbers["lsp"][-1]:
        raise UserError(f"{os.path.realpath(raw['lsp'].path)} holds images {numbers['lsp'][0]} ... "
                        f"{numbers['lsp'][-1]}; those up to {lsp_train_images} train and the others test: change "
                        f"--lsp-train-images")
    names = np.repeat(list(raw), [len(n) for n in numbers.values()])
    joints = np.concatenate([raw[name].joints[numbers[name] - 1] for name in raw])
    members = objects([raw[name].members[number] for name in raw for number in numbers[name]])
    absent = [{"source": name, "image": f"number {number + 1}", "reason": "no such image"}
              for name, data in raw.items() for number in range(len(data.joints)) if number + 1 not in data.members]
    neck, top = (joints[:, LSP.index(name)] for name in LSP.head)
    return RawPersons(
        source=names, path=objects([str(raw[name].path) for name in names]), member=members,
        image=objects([PurePosixPath(member).name for member in members]), joints=joints,
        test=(names == "lsp") & (np.concatenate(list(numbers.values())) > lsp_train_images),
        boxes=np.full((len(names), 3), np.nan), head_sizes=np.linalg.norm(neck - top, axis=1),
        person=np.zeros(len(names), int)), absent


def find(raw_dir, name, address=ADDRESS):
    """Find a data set in the raw folder, or download it there; read its joints and list its images.

    name     "lsp" or "lspet"
    address  where the official zips can be downloaded
    Returns  RawData
    Raises   UserError where raw_dir is a file; Failure where files are missing, broken or do not belong together, or
             where a download fails
    """
    raw_dir, official = Path(raw_dir), OFFICIAL[name]
    if raw_dir.exists() and not raw_dir.is_dir():
        raise UserError(f"{os.path.realpath(raw_dir)} is no folder; name the one that holds {official.file} "
                        f"with --raw-dir")
    for path in (raw_dir / official.file.removesuffix(".zip"), raw_dir / official.file):
        if path.exists():
            return _read(name, path, archives.members(path), "images", "joints.mat")
    side_by_side = [("images_" + official.suffix, f"joints_{official.suffix}.mat")]
    for images, joints in side_by_side + [("images", "joints.mat")] * (name == "lsp"):
        own = images != "images"  # a folder of that name may be another data set's
        if (raw_dir / joints).is_file() or own and (raw_dir / images).is_dir():
            members = [f"{images}/{member}" for member in archives.members(raw_dir / images)]
            return _read(name, raw_dir, members + [joints] * (raw_dir / joints).is_file(), images, joints)
    path = _download(name, raw_dir, address)
    return _read(name, path, archives.members(path), "images", "joints.mat")


def _download(name, folder, address):
    """The path of an official zip, downloaded."""
    official, path = OFFICIAL[name], Path(folder) / OFFICIAL[name].file
    url = f"{address.rstrip('/')}/{official.file}"
    by_hand = f"fetch {url} by hand and put it into {os.path.realpath(folder)}, or name another folder with --raw-dir"
    if name == "lspet":
        by_hand += ", or leave LSPe out with --train-on lsp"
    download(url, path, official.title, "--download-from", by_hand, lambda part: _fault(part, official))
    return path


def _fault(path, official):
    """Why a zip is not the whole data set; None where it is."""
    if damage := archives.damage(path):
        return damage
    members = archives.members(path)
    images = len(archives.images_in(members, "images"))
    if images != official.images or not any(PurePosixPath(member).name == "joints.mat" for member in members):
        return f"it holds {images} images and {official.images} and joints.mat are expected"


def _read(name, path, members, images, joints):
    official, where = OFFICIAL[name], os.path.realpath(path)
    tables = [member for member in members if PurePosixPath(member).name == joints]
    if len(tables) != 1:
        raise Failure(f"{where} holds {len(tables)} files named {joints}, expected one; unpack {official.file} again")
    numbered, pictures = {}, archives.images_in(members, images)
    for member in (*tables, *map(str, pictures)):
        archives.check_name(member, where)
    for image in pictures:
        number = re.search(r"(?<![0-9])[0-9]{1,18}$", image.stem)
        if not number:
            raise Failure(f"{where}: {image} has no number in its name, so no joints can be told to be its own; "
                          f"unpack {official.file} again")
        if other := numbered.get(int(number[0])):
            raise Failure(f"{where}: {other} and {image} have the same number; unpack {official.file} again")
        numbered[int(number[0])] = str(image)
    with archives.opened(path) as read:
        try:
            content = read(tables[0])
            table = _joints(content, name)
        except Unreadable as error:
            raise Failure(f"{where}/{tables[0]} can't be used ({error}); unpack {official.file} again") from None
    beyond = [member for number, member in numbered.items() if not 1 <= number <= len(table)]
    if beyond or not numbered:
        example = f", e.g. {beyond[0]} has none" if beyond else ""
        raise Failure(f"{where}: {len(numbered)} images in {images}/, joints for {len(table)} in {joints}{example}; "
                      f"they do not belong together, unpack {official.file} again")
    sha256 = archives.sha256_of(path) if path.is_file() else hashlib.sha256(content).hexdigest()
    if path.is_file() and sha256 != official.sha256:
        print(f"warning: {where} is not the {official.title} that this program knows (SHA-256 {sha256}, known "
              f"{official.sha256}); scores may not compare", file=sys.stderr)
    offset = official.offset if hashlib.sha256(content).hexdigest() == official.joints_sha256 else 0.0
    return RawData(name, path, numbered, table - offset, sha256, offset)


def _joints(content, name):
    """joints.mat -> (N, 14, 2), NaN = not annotated. The third value of LSP says occluded, LSPe's says annotated."""
    rows, columns, _ = OFFICIAL[name].shape
    try:
        content = archives.unpacked(content)
        found = [(shape, kind) for title, shape, kind in scipy.io.whosmat(io.BytesIO(content)) if title == "joints"]
    except Unreadable:
        raise
    except Exception as error:  # a broken file makes scipy raise nearly anything
        raise Unreadable(f"no MATLAB file: {archives.in_words(error)}") from None
    if len(found) != 1:
        raise Unreadable(f"it holds {len(found)} variables named joints, expected one")
    (shape, kind), = found
    if len(shape) != 3 or shape[:2] != (rows, columns) or not re.fullmatch("double|single|u?int[0-9]+", kind):
        raise Unreadable(f"joints is {kind} {shape}, expected numbers ({rows}, {columns}, N)")
    try:
        table = scipy.io.loadmat(io.BytesIO(content), variable_names=["joints"])["joints"]
    except Exception as error:  # as above
        raise Unreadable(f"its joints are broken: {archives.in_words(error)}") from None
    if table.shape != tuple(shape) or np.iscomplexobj(table):
        raise Unreadable(f"joints is {table.dtype} {table.shape}, expected numbers ({rows}, {columns}, N)")
    table = table.astype(float).transpose((2, 1, 0) if name == "lsp" else (2, 0, 1))  # -> (N, 14, 3)
    known = ~np.isnan(table).any(2) & ((name == "lsp") | (table[..., 2] == 1))
    return np.where(known[..., None], table[..., :2], np.nan)


if __name__ == "__main__":
    run(main)
