"""Figures in COCO's layout, of a skeleton of their own: four-legged animals."""
import functools
import json

import numpy as np

from .animal import COVER, EDGES, JOINTS, animal
from .folders import drawn, replaced
from .scene import draw_scene

SIZES = ((480, 320), (480, 360), (560, 420), (640, 480))


def write(folder, count, seed, workers=0, test=0):
    """Draw figures into a folder, in COCO's layout: images/000000000001.jpg ..., train.json, test.json if any test.

    count    images, of one animal or two, at times a herd; image k is the same whatever their number
    workers  processes; 0 = one for each core
    test     how many of them at the end are test images
    The JSON files hold images, annotations and one category with 11 keypoints and its skeleton, counted from 1.
    keypoints are x, y, v in image pixels, centres at integers from 0; v: 2 = visible, 1 = hidden, 0 = not annotated.
    A herd's other animals are one annotation with iscrowd 1; a few animals have a box alone.
    Raises   UserError where the folder holds anything but figures drawn before, which are replaced
    """
    category = {"id": 1, "name": "animal", "supercategory": "animal", "keypoints": list(JOINTS),
                "skeleton": [[JOINTS.index(end) + 1 for end in edge] for edge in EDGES]}
    with replaced(folder) as part:
        (part / "images").mkdir()
        described = drawn(functools.partial(_write_image, part / "images", seed), count, workers)
        for side, some in (("train", described[:count - test]), ("test", described[count - test:])):
            if some:
                content = {"info": {"description": "drawn figures"}, "categories": [category],
                           "images": [image for image, _ in some],
                           "annotations": [annotation for _, annotations in some for annotation in annotations]}
                (part / f"{side}.json").write_text(json.dumps(content))


def _write_image(folder, seed, number):
    """Draw an image; returns its entry and a list of its annotations."""
    rng = np.random.default_rng((seed, number))
    size = SIZES[rng.integers(len(SIZES))]
    herd = rng.random() < 0.04
    scene = draw_scene(rng, size, 3 if herd else rng.choice([1, 2], p=(0.65, 0.35)), JOINTS, animal, COVER, "nose")
    name = f"{number:012d}.jpg"
    scene.image.save(folder / name, quality=90)
    width, height = size
    boxes = (scene.boxes + (-0.5, -0.5, 0.5, 0.5)).clip(-0.5, np.array([width, height] * 2) - 0.5) + 0.5  # outer edges
    inside = ((scene.joints > -0.5) & (scene.joints < np.array(size) - 0.5)).all(2)
    known = inside & (rng.random(inside.shape) > 0.03) & (rng.random((len(inside), 1)) > 0.02)
    single = 1 if herd else len(boxes)
    annotations = []
    for animal_number in range(single):
        points = np.column_stack([scene.joints[animal_number].round(1), 1 + scene.visible[animal_number]])
        points *= known[animal_number][:, None]
        left, top, right, bottom = boxes[animal_number].round(1)
        annotations.append({"keypoints": points.reshape(-1).tolist(), "num_keypoints": int(known[animal_number].sum()),
                            "iscrowd": 0, "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                            **_placed(boxes[animal_number], 0.5)})
    if herd:
        box = np.concatenate([boxes[1:, :2].min(0), boxes[1:, 2:].max(0)])
        annotations.append({"keypoints": [0] * 3 * len(JOINTS), "num_keypoints": 0, "iscrowd": 1,
                            "segmentation": {"size": [height, width], "counts": [height * width]}, **_placed(box, 0.5)})
    for index, annotation in enumerate(annotations):
        annotation |= {"id": number * 10 + index, "image_id": number, "category_id": 1}
    return {"id": number, "file_name": name, "width": width, "height": height}, annotations


def _placed(box, share):
    """bbox (left, top, width, height), and area: about so much of it."""
    left, top, right, bottom = box.round(1).tolist()
    width, height = round(right - left, 1), round(bottom - top, 1)
    return {"bbox": [left, top, width, height], "area": round(share * width * height, 1)}
