"""Bad raw data of MPII, LIP, K2HPD and COCO: annotations in each of their forms, and images."""
import copy
import functools
import io
import json
import os
import zlib
from pathlib import Path

import faults_folders as folders
import numpy as np
import scipy.io
from faults_foreign import as_json, file_cases, foreign, mat, putting
from faults_raw import encoded, mat_bomb, png_sized
from faults_starts import good
from faults_trial import Case
from PIL import Image

from figures import coco, k2hpd, lip, mpii

IMAGES, TESTED = 20, 7  # drawn of each data set, and test images among them
# start -> data set, what draws it, flags of its step 1, and a file of its annotations
LAYOUTS = {
    "mpii mat": ("mpii", functools.partial(mpii.write, form="mat"), ["--split", "share", "--test-share", "0.3"],
                 "mpii_human_pose_v1_u12_1.mat"),
    "mpii list": ("mpii", functools.partial(mpii.write, form="list", test=TESTED), [], "mpii_annotations.json"),
    "mpii pair": ("mpii", functools.partial(mpii.write, form="pair", test=TESTED), [], "annot/valid.json"),
    "lip": ("lip", functools.partial(lip.write, test=TESTED), [], "lip_train_set.csv"),
    "k2hpd": ("k2hpd", functools.partial(k2hpd.write, test=TESTED), ["--block", "2"], "train_annos.txt"),
    "coco": ("coco", functools.partial(coco.write, test=TESTED), ["--test", "test.json"], "train.json"),
}
SMALL = ["--crop-size", "64", "--workers", "1", "--validation-share", "0.3"]
# numbers and what are none, as JSON or text has them
ODD = {"text": "a", "null": None, "a list": [1], "an object": {}, "true": True, "NaN": float("nan"),
       "infinite": float("inf"), "1e30": 1e30, "1e6": 1e6, "-1e6": -1e6}


def prepare(work, seed, wanted):
    """Draw the wanted layouts and run their step 1. Returns start -> folder."""
    starts = {}
    for start in wanted:
        name, draw, _, _ = LAYOUTS[start]
        starts[start] = Path(work, start.replace(" ", "_"))
        draw(starts[start] / "raw" / name, IMAGES, seed, workers=1)
        good(f"{name}_data", starts[start], *flags(start))
    return starts


def flags(start):
    return [*SMALL, *LAYOUTS[start][2]]


def dataset_cases(starts, done):
    """Cases of the layouts that were prepared; `done` is LSP's prepared folder."""
    for start in (start for start in LAYOUTS if start in starts):
        name, _, _, file = LAYOUTS[start]
        path = f"raw/{name}/{file}"
        content = (starts[start] / path).read_bytes()
        # what of a list of lines is cut off behind a line can't be told from a shorter list
        longest = len(content.partition(b"\n")[0]) // 2 if start in ("lip", "k2hpd") else len(content.rstrip()) - 1
        where = {"start": start, "flags": flags(start)}
        yield from file_cases(start, f"{name}_data", path, content, done, cut=20, longest=longest, **where)
        own = {"mpii mat": mat_changes, "mpii list": list_changes, "mpii pair": pair_changes, "lip": line_changes,
               "k2hpd": functools.partial(line_changes, between=" "), "coco": coco_changes}[start]
        for what, spoilt, mention, statuses in own(content):
            yield Case(start, what, f"{name}_data", spoil=putting(path, spoilt), statuses=statuses,
                       mention=(os.path.basename(file), *mention), **where)
        yield from folder_cases(start, starts[start], done)


def folder_cases(start, folder, done):
    """What may be wrong beside the file: it, the other one or images are absent, unreadable or of another kind."""
    name, _, _, file = LAYOUTS[start]
    raw = f"raw/{name}"
    more = {"reader": start, "step": f"{name}_data", "start": start, "flags": flags(start)}
    there = [path.relative_to(folder).as_posix() for path in sorted((folder / raw).rglob("*.*"))]
    for path in there:
        if not path.endswith((".mat", ".json", ".csv", "annos.txt")):
            continue
        yield Case(what=f"{path} is absent", spoil=absent(path), **more, mention=(
            os.path.basename(path), "annot/train.json"), statuses=(0,) if path.endswith("gt_valid.mat") else (2,))
        if path != f"{raw}/{file}":
            for kind in ("empty", "random bytes", "a web page", "json", "jpg", "UTF-16 text"):
                yield Case(what=f"{path} is {kind}", spoil=putting(path, foreign(done)[kind]), **more,
                           mention=(os.path.basename(path),))
    images = [path for path in there if path.endswith((".jpg", ".png"))]
    within = "/".join(images[0].split("/")[:3])  # raw/mpii/images
    image, picture = images[0], (folder / images[0]).read_bytes()
    called = (os.path.basename(image),)
    for kind, content in foreign(done).items():
        if kind not in ("jpg", "png"):
            yield Case(what=f"an image is {kind}", spoil=putting(image, content), mention=called, **more)
            yield Case(what=f"every image is {kind}", spoil=everywhere(images, content), **more)
    for what, content in {"cut off": picture[:len(picture) // 2], "a PNG of 3.6 gigapixels": png_sized(60000, 60000),
                          "of one pixel": encoded("PNG", Image.new("L", (1, 1)))}.items():
        yield Case(what=f"an image is {what}", spoil=putting(image, content), mention=called, **more,
                   statuses=(0, 1) if what == "of one pixel" and name == "lip" else (1,))
    yield Case(what="an image is absent", spoil=absent(image), mention=called, **more)
    yield Case(what="half of the images are absent", spoil=absent(*images[::2]), mention=called, **more)
    yield Case(what="all images are absent", spoil=absent(*images), statuses=(1, 2), **more)
    yield Case(what="the folder of images is absent", statuses=(2,), **more,
               spoil=lambda place: (place / within).rename(place / "elsewhere"))
    yield Case(what="an image is in a second folder, too", statuses=(0, 1), **more,
               spoil=putting(f"{within}/second/{called[0]}", picture))
    if name == "k2hpd":
        grey = np.asarray(Image.open(folder / image))
        for what, odd in {"of 8 bits among 16": Image.fromarray((grey >> 8).astype(np.uint8)),
                          "in colour": Image.new("RGB", (256, 212), "red"),
                          "of floating-point numbers": Image.fromarray(grey.astype(np.float32))}.items():
            yield Case(what=f"an image is {what}", spoil=putting(image, encoded("TIFF", odd)), mention=called,
                       **more)
    if name == "coco":
        yield Case(what="colours are asked for as one channel", mention=(".jpg",), **more | {
            "flags": [*more["flags"], "--channels", "one"]})
    yield Case(what="the folder of raw data is absent", statuses=(2,), mention=("--raw-dir",),
               folders={"raw_dir": "nowhere"}, **more)


def absent(*files):
    return lambda folder: [(folder / file).unlink() for file in files]


def everywhere(files, content):
    return lambda folder: [folders.put(folder / file, content) for file in files]


def mat_changes(content):
    """MPII's official file, changed: what, bytes, what else the answer may name, statuses."""
    def changed(change):
        release = scipy.io.loadmat(io.BytesIO(content))["RELEASE"]
        change(release)
        return mat({"RELEASE": release}, do_compression=True)

    def person(change):
        """Change the first person who has joints."""
        def find(release):
            for image in release["annolist"][0, 0][0]:
                rects = image["annorect"]
                if rects.size and "annopoints" in rects.dtype.names and rects[0, 0]["annopoints"].size:
                    return change(rects[0, 0], rects[0, 0]["annopoints"][0, 0]["point"][0])
            raise AssertionError("nobody has joints")
        return changed(find)

    def put(name, value):
        return lambda release: release[0, 0].__setitem__(name, value)

    yield "written anew", changed(lambda release: None), (), (0,)
    for what, value in {"a number": 5.0, "a text": "RELEASE", "a cell": np.array([[1, "a"]], object),
                        "a struct of other fields": {"x": 1}, "empty": np.zeros((0, 0))}.items():
        yield f"RELEASE is {what}", mat({"RELEASE": value}), (), (1,)
        yield f"annolist is {what}", mat({"RELEASE": {"annolist": value, "img_train": np.ones((1, IMAGES))}}), (), (1,)
    yield "RELEASE is of another name", mat({"annotations": {"annolist": 1}}), (), (1,)
    for name in ("img_train", "single_person"):
        yield f"{name} is shorter", changed(put(name, np.ones((1, IMAGES - 1)))), (name,), (1,)
    yield "no image is of the training half", changed(put("img_train", np.zeros((1, IMAGES)))), ("nobody",), (1,)
    for what, value in {"text": "a", "1e30": 1e30, "infinite": np.inf, "-1e6": -1e6, "1e6": 1e6}.items():
        for axis in "xy":
            yield f"a point's {axis} is {what}", person(lambda rect, points, axis=axis, value=value: points[0]
                                                        .__setitem__(axis, value)), ("000", "annorect"), (1,)
    for what, value in {"16": 16, "-1": -1, "1.5": 1.5, "a text": "neck", "another's": None}.items():
        yield f"a point's id is {what}", person(lambda rect, points, value=value: points[0].__setitem__(
            "id", points[1]["id"] if value is None else value)), ("annorect",), (1,)
    yield "scale is a text", person(lambda rect, points: rect.__setitem__("scale", "tall")), ("annorect",), (1,)
    yield "x1 is a text", person(lambda rect, points: rect.__setitem__("x1", "left")), ("annorect",), (1,)
    # RELEASE in a damaged compressed stream, and one that unpacks to gigabytes
    yield "a byte in the middle is another", content[:len(content) // 2] + b"\xff\x00\xff" \
        + content[len(content) // 2 + 3:], (), (1,)
    yield "a variable unpacks to gigabytes", mat_bomb(), (), (1,)
    yield "it is of MATLAB 7.3", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF\r\n\x1a\n" + bytes(500), (), \
        (1,)
    broken = zlib.compress(b"no variable at all" * 50)
    yield "a compressed variable is none", content[:128] + np.array([15, len(broken)], "<u4").tobytes() + broken, (), \
        (1,)


def json_changes(content, numbers, lists):
    """Changes of any JSON of persons: of the numbers and lists that paths lead to."""
    whole = json.loads(content)

    def changed(path, value, drop=False):
        copied = copy.deepcopy(whole)
        inner = functools.reduce(lambda part, key: part[key], path[:-1], copied)
        if drop:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return as_json(copied)

    for path in numbers:
        for what, value in ODD.items():
            yield f"{path} is {what}", changed(path, value), ("entry", "[", ".jpg", "000"), (1,)
    for path, lengths in lists.items():
        inner = functools.reduce(lambda part, key: part[key], path, whole)
        for what, value in {"one shorter": inner[:-1], "one longer": [*inner, inner[-1]], "a text": "text", "5": 5,
                            "an object": {"a": 1}, "a list of lists": [[[1]]]}.items():
            if what in lengths:
                yield f"{path} is {what}", changed(path, value), ("entry", "[", "categories"), (1, 2)
    for what, text in {"is UTF-16": content.decode().encode("utf-16"), "has bytes that are no text": b"\xff" + content,
                       "is nested a hundred thousand times": b"[" * 10 ** 5 + b"]" * 10 ** 5,
                       "is a list of lists": as_json([[whole]]), "is a text": b'"text"', "is null": b"null",
                       "is a number": b"5", "is an empty list": b"[]", "is an empty object": b"{}",
                       "lacks a comma": content.replace(b",", b"", 1), "is there twice": content + content,
                       "holds a number of ten million digits": b"[" + b"1" * 10 ** 7 + b"]"}.items():
        yield f"it {what}", text, (), (1,)


EVERY = ("one shorter", "one longer", "a text", "5", "an object", "a list of lists")


def list_changes(content):
    """MPII as a list of persons."""
    persons = json.loads(content)
    first = next(row for row, person in enumerate(persons) if all(person["joint_self"][3]))
    yield from json_changes(content, [(first, "joint_self", 3, 0), (first, "objpos", 1)], {
        (first, "joint_self"): EVERY, (first, "joint_self", 2): EVERY, (first, "objpos"): EVERY[:3] + EVERY[5:]})
    yield from entry_changes(persons, {
        "joint_self": (None,), "img_paths": (None, 5, "", "nowhere.jpg"), "isValidation": (2, "yes"),
        "scale_provided": ("tall",)}, ("joint_self", "img_paths"))
    for value, mention in ((0, "validation list"), (1, "train")):
        yield f"everybody's isValidation is {value}", \
            as_json([person | {"isValidation": value} for person in persons]), (mention,), (1,)
    yield "nobody has a joint", as_json([person | {"joint_self": [[0, 0, 0]] * 16} for person in persons]), \
        ("nobody",), (1,)


def pair_changes(content):
    """MPII as two lists."""
    persons = json.loads(content)
    first = next(row for row, person in enumerate(persons) if person["joints_vis"][3])
    yield from json_changes(content, [(first, "joints", 3, 0), (first, "center", 0)], {
        (first, "joints"): EVERY, (first, "joints", 2): EVERY, (first, "joints_vis"): EVERY})
    yield from entry_changes(persons, {"image": (None, 5, "")}, ("image", "joints", "joints_vis"))
    yield "a person less than gt_valid.mat has", as_json(persons[:-1]), ("gt_valid.mat",), (1,)
    yield "a person more than gt_valid.mat has", as_json([*persons, persons[0]]), ("gt_valid.mat",), (1,)


def entry_changes(persons, wrong, needed):
    """The first person of a list changed or robbed of what is needed, or entries that are no persons."""
    for key, values in wrong.items():
        for value in values:
            yield f"{key} is {value!r}", as_json([persons[0] | {key: value}, *persons[1:]]), ("entry 1", "nowhere"), \
                (1,)
    for lacking in needed:
        person = {key: value for key, value in persons[0].items() if key != lacking}
        yield f"no {lacking}", as_json([person, *persons[1:]]), ("entry 1",), (1,)
    for kind, entry in {"null": None, "a number": 5, "a list": [], "an empty object": {}}.items():
        yield f"an entry is {kind}", as_json([*persons, entry]), (), (1,)


def line_changes(content, between=","):
    """LIP's table and K2HPD's list."""
    lines = content.decode().replace("\0", "").splitlines()
    name, rest = lines[1].split(between, 1)
    is_lip, fields = between == ",", rest.split(",")
    place = next(place for place in range(0, 30, 3 if is_lip else 2) if fields[place] != "nan")

    def second(text):
        return "\n".join([lines[0], text, *lines[2:], ""]).encode()

    def changed(place, value):
        return second(name + between + ",".join([*fields[:place], value, *fields[place + 1:]]))

    for what, value in {"text": "abc", "a comma for the point": "1,5,2", "inf": "inf", "1e30": "1e30", "-1e6": "-1e6",
                        "1e6": "1e6", "hexadecimal": "0x10", "two numbers": "1 2",
                        "of ten million digits": "1" * 10 ** 7}.items():
        if what != "a comma for the point" or is_lip:  # K2HPD's lines may be longer
            yield f"a coordinate is {what}", changed(place, value), ("line 2", name), (1,)
    yield "an empty coordinate", changed(place, ""), ("line 2",), (0, 1) if is_lip else (1,)
    wrong = {"has a column too few": name + between + ",".join(fields[:29]),
             "has a name alone": name, "has no name": between + rest, "is text": "this is no data",
             "has semicolons": (name + between + rest).replace(",", ";"), "is a web page": "<html><body>Not Found",
             "has tabs alone": (name + between + rest).replace(",", "\t"), "has letters beyond ASCII": "äöü" + rest}
    for what, line in wrong.items():
        yield f"line 2 {what}", second(line), ("line 2",), (1,)
    yield "an image is named that is not there", second(f"nowhere.png{between}{rest}"), ("nowhere.png",), (1,)
    yield "a name climbs out", second(f"../../../etc/x.png{between}{rest}"), ("x.png",), (1,)
    yield "a name begins at the root", second(f"/etc/x.png{between}{rest}"), ("x.png",), (1,)
    yield "a line is there twice", "\n".join([*lines, lines[1], ""]).encode(), (name,), (1,)
    yield "the last line is cut off", "\n".join(lines).encode()[:-len(lines[-1]) // 2], (f"line {len(lines)}",), (1,)
    yield "blank lines alone", b"\n\n \n", (), (1,)
    if is_lip:
        yield "a column more", second(lines[1] + ",5"), ("line 2",), (1,)
        yield "a v of 3", changed(place + 2, "3"), ("line 2",), (1,)
        yield "a line of column names", "\n".join([",".join(["image"] + ["x"] * 48), *lines]).encode(), ("line 1",), \
            (1,)


def coco_changes(content):
    """COCO's keypoints."""
    whole = json.loads(content)
    annotations, category = whole["annotations"], whole["categories"][0]
    row = next(row for row, own in enumerate(annotations) if own["num_keypoints"] and own["keypoints"][2])
    yield from json_changes(content, [("annotations", row, "keypoints", 0), ("annotations", row, "bbox", 2)], {
        ("annotations", row, "keypoints"): EVERY, ("annotations", row, "bbox"): EVERY, ("annotations",): EVERY[2:],
        ("images",): EVERY[2:], ("categories",): EVERY[2:], ("categories", 0, "keypoints"): EVERY,
        ("categories", 0, "skeleton", 0): EVERY})

    def with_own(**change):
        return as_json(whole | {"annotations": [*annotations[:row], annotations[row] | change, *annotations[row + 1:]]})

    def with_category(**change):
        return as_json(whole | {"categories": [category | change]})

    yield "two categories with keypoints", as_json(whole | {"categories": [category, category | {
        "id": 2, "name": "plant"}]}), ("--category",), (2,)
    yield "no category", as_json(whole | {"categories": []}), (), (1,)
    yield "a category without keypoints", with_category(keypoints=[]), (), (1,)
    for what, edge in {"from 0": [0, 1], "beyond the joints": [1, 12], "to itself": [2, 2], "of texts": ["a", "b"],
                       "of three": [1, 2, 3]}.items():
        yield f"a limb {what}", with_category(skeleton=[edge]), ("skeleton",), (1,)
    yield "two keypoints of one name", with_category(keypoints=[category["keypoints"][0]] * 11), ("keypoints",), (1,)
    yield "keypoints without a name", with_category(keypoints=[" "] * 11), ("keypoints",), (1,)
    yield "an image_id of no image", with_own(image_id=10 ** 9), (f"annotations[{row}]",), (1,)
    yield "a box of no width", with_own(bbox=[1, 1, 0, 5]), (f"annotations[{row}]",), (1,)
    yield "no bbox", with_own(bbox=None), (f"annotations[{row}]",), (1,)
    yield "another category_id", as_json(whole | {"annotations": [own | {"category_id": 7} for own in annotations]}), \
        ("nobody", "no image to train"), (1,)
    for key in ("images", "annotations", "categories"):
        yield f"no {key}", as_json({name: part for name, part in whole.items() if name != key}), (), (1,)
        yield f"{key} of null", as_json(whole | {key: [None]}), (key,), (1,)
        yield f"{key} of objects that are empty", as_json(whole | {key: [{}]}), (key, "no image to train on"), (1,)
    yield "no annotation", as_json(whole | {"annotations": []}), ("nobody", "no image to train"), (1,)
    images = whole["images"]
    for what, image in {"file_name a number": {"file_name": 5}, "an empty file_name": {"file_name": " "},
                        "an image that is not there": {"file_name": "nowhere.jpg"},
                        "a file_name that climbs out": {"file_name": "../../../etc/x.jpg"},
                        "width and height exchanged": {"width": images[0]["height"], "height": images[0]["width"]},
                        "the id of another image": {"id": images[1]["id"]}}.items():
        yield what, as_json(whole | {"images": [images[0] | image, *images[1:]]}), \
            ("images[", "annotations[", ".jpg"), (1,)
