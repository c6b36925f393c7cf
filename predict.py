"""Poses on photographs and videos of yours, by the trained stages.

Reads   the photographs and videos in PATHS: files, folders, patterns, or - for a list on standard input;
        checkpoints/stage1.pt and every stage after it, or the released ones where there is none
Writes  predictions/                       each photograph and video with its poses drawn, in folders as it was found
        predictions/predictions.json       joints, confidence and boxes, with what they mean
        predictions/predictions.csv        the same as a table, a row a joint
        predictions/predictions_coco.json  with --format coco: COCO's results
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load is answered in a line

import os
import sys
from collections import Counter, deque
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deeppose.ahead import in_order
from deeppose.archives import Unreadable
from deeppose.claims import claimed
from deeppose.devices import Stopwatch, choose_device, has_bfloat16, looking_threads
from deeppose.inputs import find_inputs
from deeppose.overlays import LARGEST, overlay, save_overlay
from deeppose.person_boxes import check_box, read_boxes, squares
from deeppose.photos import Photo, read_photo
from deeppose.predictions import Found, image_numbers, output_paths, writing
from deeppose.settings import parse_settings
from deeppose.stored_crops import beside
from networks.posing import Posing
from networks.trained_stages import load_stages

CHECKPOINT_DIR = "checkpoints"  # weights; the default: where it holds no stage1.pt the released ones
OUT = "predictions"             # folder for what is written
OVERWRITE = False               # replace what an earlier run wrote there
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
THREADS = 0                     # 0 ... 1024: that read, compute and draw; 0 = one for each core
BATCH_SIZE = 16                 # 1 ... 65536: persons a step
STAGES = 0                      # 0 ... 99: how many of the trained stages look; 0 = all
PASSES = 2                      # 1 ... 5: looks at each person, the later ones at a box round what was found
FLIP_TEST = True                # average with the mirrored window's prediction; as a cascade expects
BFLOAT16 = False                # compute so where the device has it: less time; of stage 1's joints 1% move by a pixel
DOUBT = 0.4                     # 0.0 ... 1: mean of stage 1's own score below which parts are searched; 0 = off
BOX = (0.0, 0.0, 0.0, 0.0)      # -1e6 ... 1e6: x0 y0 x1 y1 round the person in every photograph; all 0 = none
BOXES = "none"                  # file of boxes, CSV, JSON or COCO's; persons may share a photograph
DETECTOR = "none"               # none, or for several persons torchvision's, e.g. fasterrcnn_mobilenet_v3_large_fpn
DETECTOR_WEIGHTS = "coco"       # coco, torchvision's, downloaded once; or a file of them
LEAST_SCORE = 0.6               # 0.0 ... 1: of what a detector takes for a person
BOX_MARGIN = 1.2                # 0.1 ... 10: longer sides of such a box that are looked at; of a predictions.json's 1
MARGIN: float | None = None     # 0.1 ... 100: side of a later pass's box, in extents of the joints; none = as trained
SMOOTHING = 0                   # 0 ... 100: frames to each side to smooth videos over; 1 = leave out single jumps alone
OVERLAYS = True                 # draw the poses over photographs and videos
NAMES = False                   # write each joint's name beside it
FADED_BELOW = 0.5               # 0.0 ... 1: joints of less confidence are drawn faded
FORMAT = "json"                 # json | coco: coco writes predictions_coco.json as well, COCO's results

RELEASED = Path(__file__).resolve().parent / "checkpoints/released"
PATHS = ("paths", "+", "photographs and videos: files, folders, patterns in quotes, or - for a list on standard input")


def main(argv=None):
    settings = parse_settings(globals(), argv, PATHS)
    inputs, missing, others = find_inputs(settings.paths, settings.out, lambda: sys.stdin.buffer.read())
    check_output(settings, inputs)
    boxes_of = given_boxes(settings, inputs)
    if any(one.video for one in inputs):
        from deeppose.videos import pyav
        pyav()  # told before any work where it is missing
    with claimed(settings.out, "predictions", below=True):
        predict(settings, inputs, missing, others, boxes_of)


def check_output(settings, inputs):
    """Raise UserError where output would replace what is there, or one of the inputs whatever was said."""
    written = output_paths(settings.out, settings.format == "coco")
    if settings.overlays:
        written += [Path(settings.out, one.name) for one in inputs]
    there = [path for path in written if os.path.lexists(path)]
    sources = {os.path.realpath(one.path) for one in inputs} if there else ()
    for path in there:
        if os.path.realpath(path) in sources:
            raise UserError(f"{os.path.abspath(path)} is one of the inputs and is not written over; name another --out")
    if there and not settings.overwrite:
        raise UserError(f"{os.path.abspath(there[0])} is there already; --overwrite replaces it, or name another --out")


def given_boxes(settings, inputs):
    """Function of a photograph's path that gives boxes of its persons, (P, 4), and what COCO's results shall tell of
    them, see PersonBoxes.of; where the persons are to be found the first is None."""
    given = [f"--{name}" for name, value in (("box", any(settings.box)), ("boxes", settings.boxes != "none"),
                                             ("detector", settings.detector != "none")) if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are both given; leave one of them out")
    if given == ["--boxes"]:
        boxes = read_boxes(settings.boxes)
        names = [boxes.name_of(one.path) for one in inputs]
        if unnamed := [one.path for one, name in zip(inputs, names) if name is None]:
            if len(unnamed) == len(inputs):
                raise UserError(f"{os.path.abspath(settings.boxes)} names none of the inputs, such as "
                                f"{unnamed[0]}; it must name them by their paths, or by the ends of these")
            print(f"note: {settings.boxes} does not name {len(unnamed)} of {len(inputs)} inputs, such as {unnamed[0]}: "
                  "nobody is looked for there")
        named = {}
        for one, name in zip(inputs, names):
            if name is not None and (other := named.setdefault(name, one.path)) != one.path:
                raise UserError(f"{os.path.abspath(settings.boxes)} names {name}, which may be {other} or {one.path}; "
                                "name them there with their folders")
        if boxes.seen:
            settings.box_margin = 1.0
        return boxes.of
    if given != ["--box"]:
        return lambda path: (None, {})
    try:
        box = np.array([check_box(settings.box)])
    except ValueError as error:
        raise UserError(f"--box: {error}") from None
    return lambda path: (box, {})


def load_model(settings, device):
    """The trained stages, and the folder that they are from."""
    folder = settings.checkpoint_dir
    if folder == CHECKPOINT_DIR and not os.path.lexists(os.path.join(folder, "stage1.pt")) and RELEASED.is_dir():
        print(f"note: no stage1.pt in {folder}/: the released model is used, {RELEASED}")
        folder = RELEASED
    return load_stages(folder, None, device, settings.stages or None), folder


def posing_of(settings, stages, device):
    bfloat16 = settings.bfloat16 and has_bfloat16(device)
    if settings.bfloat16 and not bfloat16:
        print(f"note: {device} has no bfloat16 of its own: computing in float32")
    if len(stages) > 1 and stages[1].flip_test and not settings.flip_test:
        print("note: stage 2 expects the flip test, which is made nevertheless; --stages 1 looks without both")
    return Posing(stages, device, passes=settings.passes, flip_test=settings.flip_test, margin=settings.margin,
                  doubt=settings.doubt, batch_size=settings.batch_size, bfloat16=bfloat16)


def predict(settings, inputs, missing, others, boxes_of):
    """Find, draw and write the poses of all inputs. Raises Failure, at the end, where some can't be used."""
    device = choose_device(settings.device)
    torch.set_num_threads(1)  # of each batch; several at a time get through more than one after another by several
    stages, folder = load_model(settings, device)
    posing = posing_of(settings, stages, device)
    if folder != RELEASED:
        print(f"model: {folder}, {'stage 1' if len(stages) == 1 else f'{len(stages)} stages'}; "
              + ("its {}: {}".format(*posing.confidence) if posing.has_confidence else "it tells no confidence"))
    aim = aiming(settings, posing, boxes_of)
    name, meaning = posing.confidence
    facts = {"model": {"checkpoints": os.path.abspath(folder), "stages": len(stages),
                       "fingerprint": stages[-1].fingerprint, "flip_test": posing.flip_test},
             "settings": {key: value for key, value in vars(settings).items() if key != "paths"}
             | {"margin": posing.margin}, name: meaning}
    coco, numbers = settings.format == "coco", image_numbers(inputs)
    unusable, found, persons = [{"file": path, "reason": why} for path, why in missing], Counter(), 0
    watch = Stopwatch()
    with (writing(settings.out, posing.first.skeleton, facts, name, coco, settings.smoothing > 0) as (add, ending),
          tqdm(total=len(inputs), unit="image", leave=False, disable=None) as bar):
        for video, group in groupby(inputs, key=lambda one: one.video):
            for one in (in_videos if video else in_photos)(list(group), aim, posing, settings, bar):
                if not isinstance(one, Found):
                    unusable.append(one)
                    continue
                if coco and one.image_id is None:
                    one.image_id = numbers.get(one.file, found.total() + 1)
                add(one)
                found[one.file] += 1
                persons += len(one.joints)
        ending["unusable"] = unusable
        for one in unusable:
            tqdm.write(f"can't be used: {one['file']}: {one['reason']}", file=sys.stderr)
        if not found:
            raise Failure(f"none of the inputs can be used, as told above ({len(unusable)}); nothing is written")

    if settings.overwrite and not coco:
        output_paths(settings.out, True)[-1].unlink(missing_ok=True)  # an earlier run's, of other pictures
    films = [found[one.path] for one in inputs if one.video and one.path in found]
    what = [counted(len(found) - len(films), "photograph")] * (len(found) > len(films) or not films)
    what += [f"{counted(len(films), 'video')} of {counted(sum(films), 'frame')}"] * bool(films)
    print(f"{' and '.join(what)}, {counted(persons, 'pose')} in {watch.seconds:.1f} s, "
          f"{found.total() / watch.seconds:.1f} a second on {device}; written to {settings.out}"
          + (f"; {counted(others, 'other file')} left aside" if others else ""))
    if unusable:
        raise Failure(f"{len(unusable)} of {len(inputs) + len(missing)} inputs can't be used, or not to their end, as "
                      "told above; the others are done")


def counted(number, what):
    return f"{number} {what}" + "s" * (number != 1)


def aiming(settings, posing, boxes_of):
    """Function of a path and its Photo that gives the squares to look at, as Posing.find takes them, and what COCO's
    results shall tell of them, fields of Found. Raises Unreadable where a box lies beside the photograph."""
    detector = None
    if settings.detector != "none":
        from networks.person_detectors import PersonDetector  # here, since few runs need it
        detector = PersonDetector(settings.detector, settings.detector_weights, posing.device, settings.least_score)

    def aim(path, photo):
        boxes, coco = boxes_of(path)
        if detector:
            boxes = detector.boxes(photo)
        if boxes is None:
            return None, coco
        for box in boxes[beside(boxes[:, :2], boxes[:, 2:], photo.size)]:
            raise Unreadable(f"the box {' '.join(f'{value:g}' for value in box)} lies beside it; it is "
                             f"{photo.size[0]} x {photo.size[1]}")
        return squares(boxes, settings.box_margin), coco
    return aim


def in_photos(inputs, aim, posing, settings, bar):
    """What is found in photographs, in their order: Found, or {file, reason} where one can't be used."""
    threads = looking_threads(settings.threads, posing.device)
    size = max(1, min(settings.batch_size, -(-len(inputs) // threads)))
    batches = (inputs[start:start + size] for start in range(0, len(inputs), size))
    for found in in_order(lambda batch: in_batch(batch, aim, posing, settings), batches, threads):
        yield from found
        bar.update(len(found))


def in_batch(inputs, aim, posing, settings):
    """Read some photographs, find their poses and draw them. Returns a list of what `in_photos` gives."""
    least_side = max(posing.least_side, LARGEST // 2 if settings.overlays or settings.detector != "none" else 0)
    results, aimed = {}, {}
    for one in inputs:
        try:
            photo = read_photo(one.path, posing.first.pixels, least_side)
            aimed[one] = photo, *aim(one.path, photo)
        except Unreadable as error:
            results[one] = {"file": one.path, "reason": str(error)}
    photos, edges, _ = zip(*aimed.values()) if aimed else ((), (), ())
    for (one, (photo, _, coco)), poses in zip(aimed.items(), posing.find(photos, edges), strict=True):
        results[one] = Found(one.path, photo.size, poses.joints, poses.confidence, poses.boxes, **coco)
        if settings.overlays:
            save_overlay(Path(settings.out, one.name), drawn(photo, poses.joints, poses.confidence, posing, settings))
    return [results[one] for one in inputs]


def in_videos(inputs, aim, posing, settings, bar):
    """What is found in videos' frames, in their order: Found, and {file, reason} where one can't be used to its end."""
    for one in inputs:
        try:
            yield from in_video(one, aim, posing, settings, bar)
        except Unreadable as error:
            yield {"file": one.path, "reason": str(error)}


def in_video(one, aim, posing, settings, bar):
    """What is found in the frames of a video, which is drawn and written meanwhile. Raises Unreadable."""
    from deeppose import smoothing, videos  # here, since few runs need them
    if posing.first.pixels.channels != 3:
        raise Unreadable("a video in colours; the model takes images of one channel")

    def look_at(frames):
        photos = [Photo(frame.image, frame.image.size) for frame in frames]
        edges, coco = zip(*(aim(one.path, photo) for photo in photos))
        found = zip(posing.find(photos, edges), coco, strict=True)
        return list(zip(frames, photos, found, strict=True))

    faults, empty = [], True
    with videos.opened(one.path) as film:
        bar.total += max(0, film.expected - 1)
        batches = videos.batches(videos.until_broken(film.frames, faults), settings.batch_size)
        looks = in_order(look_at, batches, looking_threads(settings.threads, posing.device))
        picture = videos.writing(Path(settings.out, one.name), film) if settings.overlays else nullcontext()
        waiting = deque()  # what is to be drawn of frames whose neighbours are not all looked at yet

        def poses_alone():
            for frame, photo, (poses, coco) in (each for batch in looks for each in batch):
                waiting.append((photo if settings.overlays else None, photo.size, frame.number, frame.seconds, coco))
                yield poses

        with picture as add:
            for recent, place in smoothing.windows(poses_alone(), settings.smoothing):
                poses, (photo, size, number, seconds, coco) = recent[place], waiting.popleft()
                smooth = smoothing.smoothed([(pose.joints, pose.boxes) for pose in recent], place) \
                    if settings.smoothing else None
                if add:
                    add(drawn(photo, poses.joints if smooth is None else smooth, poses.confidence, posing, settings,
                              smallest=1), seconds)
                yield Found(one.path, size, poses.joints, poses.confidence, poses.boxes, number, seconds,
                            smoothed=smooth, **coco)
                bar.update()
                empty = False
            if empty:
                raise Unreadable(faults[0])  # before anything is written
    if faults:
        raise Unreadable(faults[0])


def drawn(photo, joints, confidence, posing, settings, **more):
    """A picture of a photograph with its persons' joints (P, J, 2)."""
    doubtful = np.zeros(joints.shape[:2], bool) if confidence is None else confidence < settings.faded_below
    return overlay(photo, joints, posing.first.skeleton, doubtful, settings.names, **more)


if __name__ == "__main__":
    run(main)
