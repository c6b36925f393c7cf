"""Figures in the layout of Look Into Person: crops of one person each, cut from photographs of one or two."""
import functools

import numpy as np

from .folders import drawn, replaced
from .scene import draw_scene

JOINTS = ("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "spine", "neck", "head_top", "r_wrist",
          "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist")


def write(folder, count, seed, workers=0, test=0):
    """Draw figures into a folder, in LIP's layout: train_images/, val_images/, lip_train_set.csv, lip_val_set.csv.

    count    crops; crop k is the same whatever their number
    workers  processes; 0 = one for each core
    test     how many of them at the end are the validation set; both persons of a photograph are on one side
    A line of the CSV files is name.jpg, then x, y, v of each joint in the crop's pixels, centres at integers; v: 0 =
    visible, 1 = occluded; all three are nan where the crop does not show the joint, or nobody annotated it. A name is
    PHOTOGRAPH_CROP.jpg.
    Raises   UserError where the folder holds anything but figures drawn before, which are replaced
    """
    with replaced(folder) as part:
        for name in ("train_images", "val_images"):
            (part / name).mkdir()
        photographs = count * 2 // 3 + 1  # of two persons and of one in turn: three crops
        lines = drawn(functools.partial(_write_crops, part, seed, count, count - test), photographs, workers)
        for side in ("train", "val"):
            (part / f"lip_{side}_set.csv").write_text("".join(text for lines_of in lines for where, text in lines_of
                                                              if where == side))


def _write_crops(folder, seed, count, last_trained, photograph):
    """Draw a photograph and save its crops up to `count`. Returns a list of "train" or "val", and the crop's line."""
    rng = np.random.default_rng((seed, photograph))
    first = (photograph - 1) // 2 * 3 + (photograph - 1) % 2 * 2 + 1
    crops = range(first, min(first + 1 + photograph % 2, count + 1))
    if not crops:
        return []
    side = "train" if crops[-1] <= last_trained else "val"
    scene = draw_scene(rng, (480, 320), 1 + photograph % 2, JOINTS)
    lines = []
    for crop, joints, visible, box in zip(crops, scene.joints, scene.visible, scene.boxes):
        margins = rng.uniform(0.02, 0.2, 4) * (box[2:] - box[:2]).max() * (-1, -1, 1, 1)
        if rng.random() < 0.12:  # half a person
            margins[3] = -rng.uniform(0.3, 0.5) * (box[3] - box[1])
        edges = np.round(box + margins).clip(0, [*scene.image.size] * 2).astype(int)
        edges[2:] = np.maximum(edges[2:], edges[:2] + 20)
        name = f"{photograph}_{crop}.jpg"
        scene.image.crop(edges.tolist()).save(folder / f"{side}_images" / name, quality=92)
        joints = joints - edges[:2]
        known = ((joints > -0.5) & (joints < edges[2:] - edges[:2] - 0.5)).all(1) & (rng.random(len(joints)) > 0.03)
        fields = (f"{x:.0f},{y:.0f},{int(not seen)}" if told else "nan,nan,nan"
                  for (x, y), seen, told in zip(joints, visible, known))
        lines.append((side, f"{name},{','.join(fields)}\n"))
    return lines
