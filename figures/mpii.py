"""Figures in MPII Human Pose's layout: the official MATLAB file, irregular as it is, or one of two JSON forms of it."""
import functools
import json
from dataclasses import dataclass

import numpy as np

from .folders import drawn, replaced
from .matlab import cells, mat, structs
from .scene import draw_scene

JOINTS = ("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "neck", "head_top", "r_wrist",
          "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist")
SIZES = ((480, 320), (480, 360), (560, 420), (640, 480))
FILM = 2   # neighbouring images that are of one film
NINTH = 9  # one image in so many is of the official test half, whose joints are not published


@dataclass
class Photograph:
    """What MPII tells of an image with P persons; pixels counted from 1.

    joints     (P, 16, 2) float64; known (P, 16) bool, whether a joint is annotated
    visible    (P, 16) bool
    heads      (P, 4) float64, left, top, right, bottom
    positions  (P, 2) objpos, scales (P,) float64
    """
    number: int
    size: tuple
    joints: np.ndarray
    known: np.ndarray
    visible: np.ndarray
    heads: np.ndarray
    positions: np.ndarray
    scales: np.ndarray

    @property
    def name(self):
        return f"{self.number:09d}.jpg"


def write(folder, count, seed, workers=0, form="mat", test=0):
    """Draw figures into a folder, in MPII's layout: images/000000001.jpg ..., with one to three persons each.

    count    images; image k is the same whatever their number
    workers  processes; 0 = one for each core
    form     "mat"   mpii_human_pose_v1_u12_1.mat, the official one; every ninth image is of its test half, which has
                     no joints
             "list"  mpii_annotations.json, a list of persons: joint_self, objpos, scale_provided, isValidation, ...
             "pair"  annot/train.json, annot/valid.json: image, center, scale, joints, joints_vis; annot/gt_valid.mat:
                     headboxes_src of the latter
    test     of the JSON forms: the persons of so many images at the end are the validation list
    Coordinates count from 1 everywhere.
    Raises   UserError where the folder holds anything but figures drawn before, which are replaced
    """
    with replaced(folder) as part:
        (part / "images").mkdir()
        photographs = drawn(functools.partial(_write_image, part / "images", seed), count, workers)
        if form == "mat":
            (part / "mpii_human_pose_v1_u12_1.mat").write_bytes(mat({"RELEASE": _release(photographs, seed)}, True))
        elif form == "list":
            persons = [person for photograph in photographs for person in _listed(photograph, count - test)]
            (part / "mpii_annotations.json").write_text(json.dumps(persons))
        else:
            (part / "annot").mkdir()
            for name, some in (("train", photographs[:count - test]), ("valid", photographs[count - test:])):
                persons = [person for photograph in some for person in _paired(photograph)]
                (part / f"annot/{name}.json").write_text(json.dumps(persons))
            heads = np.array([head for photograph in photographs[count - test:] for head in photograph.heads])
            heads = heads.reshape(-1, 2, 2).transpose(1, 2, 0)  # (N, 4) -> corner, x or y, person
            (part / "annot/gt_valid.mat").write_bytes(mat({"headboxes_src": heads}))


def _write_image(folder, seed, number):
    rng = np.random.default_rng((seed, number))
    size = SIZES[rng.integers(len(SIZES))]
    scene = draw_scene(rng, size, rng.choice([1, 2, 3], p=(0.55, 0.30, 0.15)), JOINTS)
    inside = ((scene.joints > -0.5) & (scene.joints < np.array(size) - 0.5)).all(2)
    known = (inside | (rng.random(inside.shape) < 0.3)) & (rng.random(inside.shape) > 0.02)
    low, high = scene.boxes[:, :2], scene.boxes[:, 2:]
    scales = (high - low).max(1) / 200  # a person is 200 high where it is 1
    positions = (low + high) / 2 - scales[:, None] * (0, 15)  # above the middle, as the customary box reckons
    photograph = Photograph(number, size, scene.joints + 1, known, scene.visible, (scene.heads + 1).round(),
                            (positions + 1).round(), scales.round(6))
    scene.image.save(folder / photograph.name, quality=90)
    return photograph


def _release(photographs, seed):
    """The struct that the official file holds."""
    train = np.array([photograph.number % NINTH > 0 for photograph in photographs])
    rects = [_annorect(np.random.default_rng((seed, photograph.number, 1)), photograph, trained)
             for photograph, trained in zip(photographs, train)]
    films = [(photograph.number - 1) // FILM + 1 for photograph in photographs]
    annolist = structs([{"image": structs([{"name": photograph.name}], ["name"]), "annorect": rect,
                         **({"frame_sec": _small(photograph.number % 50), "vididx": _small(film)} if trained else {})}
                        for photograph, rect, film, trained in zip(photographs, rects, films, train)],
                       ["image", "annorect", "frame_sec", "vididx"])
    alone = [np.arange(1, len(photograph.scales) + 1, dtype=np.uint8)[:, None] if len(photograph.scales) < 3
             else np.zeros((0, 0)) for photograph in photographs]
    act = structs([{"cat_name": "drawn", "act_name": "drawn", "act_id": _small(1)}] * len(photographs),
                  ["cat_name", "act_name", "act_id"]).T
    return structs([{"annolist": annolist, "img_train": train[None].astype(np.uint8), "version": "12",
                     "single_person": cells(alone), "act": act,
                     "video_list": cells([f"film{film}" for film in sorted(set(films))]).T}],
                   ["annolist", "img_train", "version", "single_person", "act", "video_list"])


def _annorect(rng, photograph, trained):
    """The persons of an image as the official file has them, with all that it lacks here and there."""
    persons = [{"x1": _small(left), "y1": _small(top), "x2": _small(right), "y2": _small(bottom),
                "annopoints": _annopoints(rng, photograph, person), "scale": np.float64(scale),
                "objpos": structs([{"x": _small(x), "y": _small(y)}], ["x", "y"])}
               for person, ((left, top, right, bottom), (x, y), scale)
               in enumerate(zip(photograph.heads, photograph.positions, photograph.scales))]
    fields = list(persons[0])
    kind = rng.choice(["whole", "none", "heads alone", "no scale", "somebody lacks joints", "somebody lacks scale"],
                      p=(0.76, 0.05, 0.03, 0.03, 0.09, 0.04))
    if not trained:
        return structs(persons, ["scale", "objpos"]) if rng.random() < 0.8 else np.zeros((0, 0))
    if kind == "none":
        return np.zeros((0, 0))
    if kind == "heads alone":
        fields = fields[:4]
    if kind == "no scale":
        fields = fields[:5]
    if kind == "somebody lacks joints":  # as those in the background of the real ones
        del persons[-1]["annopoints"], persons[-1]["scale"], persons[-1]["objpos"]
    if kind == "somebody lacks scale":
        del persons[-1]["scale"], persons[-1]["objpos"]
    return structs(persons, fields)


def _annopoints(rng, photograph, person):
    """The joints of a person: in any order, whole numbers or not, visibility told in one of four ways or not at all."""
    kind = rng.choice(["absent", "number", "character", "mixed"])
    points = []
    for joint in rng.permutation(np.flatnonzero(photograph.known[person])):
        x, y = photograph.joints[person, joint]
        seen = int(photograph.visible[person, joint])
        point = {"x": np.float64(round(x, 1)), "y": np.float64(round(y, 1)), "id": _small(joint)}
        told = {"number": _small(seen), "character": str(seen),
                "mixed": np.zeros((0, 0)) if JOINTS[joint] in ("neck", "head_top") else _small(seen)}
        points.append(point | ({"is_visible": told[kind]} if kind != "absent" else {}))
    if not points:
        return np.zeros((0, 0))
    return structs([{"point": structs(points, list(points[0]))}], ["point"])


def _small(number):
    """A whole number as MATLAB stores it: of the smallest type that holds it."""
    return np.array([[int(number)]]).astype(np.min_scalar_type(int(number)))


def _listed(photograph, last_trained):
    """The persons of an image as mpii_annotations.json has them; joints that are not annotated are zeros."""
    known = photograph.known[..., None]
    joints = np.concatenate([photograph.joints.round(1), photograph.visible[..., None]], axis=2) * known
    count = len(joints)
    for person in range(count):
        others = [other for other in range(count) if other != person]
        yield {"dataset": "MPI", "isValidation": float(photograph.number > last_trained), "img_paths": photograph.name,
               "img_width": float(photograph.size[0]), "img_height": float(photograph.size[1]),
               "objpos": photograph.positions[person].tolist(), "joint_self": joints[person].tolist(),
               "scale_provided": float(photograph.scales[person]), "joint_others": joints[others].tolist(),
               "scale_provided_other": photograph.scales[others].tolist(),
               "objpos_other": photograph.positions[others].tolist(), "annolist_index": float(photograph.number),
               "people_index": person + 1.0, "numOtherPeople": float(len(others))}


def _paired(photograph):
    """The persons of an image as annot/train.json has them; joints that are not annotated are at -1."""
    joints = np.where(photograph.known[..., None], photograph.joints.round(1), -1)
    for person in range(len(joints)):
        yield {"image": photograph.name, "center": photograph.positions[person].tolist(),
               "scale": float(photograph.scales[person]), "joints": joints[person].tolist(),
               "joints_vis": photograph.known[person].astype(int).tolist()}
