"""Poses from trained networks, a batch at a time: stage 1 on boxes, later ones on windows round joints or poses."""
import torch

from .crops import box_windows, make_windows, reduction_for, sample_windows, to_crop, to_window


@torch.inference_mode()
def predict_with_confidence(model, persons, rows, input_size, batch_size=64, flip_test=False, windows=None,
                            pixels=None):
    """Stage 1 on the boxes of chosen persons, or on other windows.

    model       network whose `joints(forward(images))` gives joints in the window's frame; evaluated, dropout off.
                For the flip test `mirrored` turns the mirrored images' output into one of the images
    persons     Crops on the device of the network
    rows        (M,) int64 on that device, the persons to look at
    input_size  pixels along the network's square input
    flip_test   average the network's output with that on the mirrored images
    windows     (M, 2, 3) on the persons' crops, in place of their boxes; pixels are averaged at the boxes' rate
    pixels      Pixels whose mean and deviation normalise the images; None = the persons' own
    Returns     joints (M, J, 2) float32 on that device, crop pixels; the network's confidence of each (M, J), or None
                where it has none
    """
    model.eval()
    if windows is None:
        boxes = box_windows(batch_size, persons.crop_size, persons.context, persons.device)
    partner = torch.tensor(persons.skeleton.mirror, device=persons.device)
    reduction = reduction_for(persons.box_side, input_size)

    poses, confidences, done = [], [], 0
    for crops, places in persons.crop_batches(rows.split(batch_size)):
        seen = boxes[:len(places)] if windows is None else windows[done:done + len(places)]
        done += len(places)
        images = sample_windows(crops, places, seen, input_size, reduction, pixels=pixels or persons.pixels)
        joints, confidence = model.joints(output_on(model, images, partner if flip_test else None))
        poses.append(to_crop(joints, seen))
        confidences.append(confidence)
    return torch.cat(poses), None if confidence is None else torch.cat(confidences)


def output_on(network, images, partner=None, *told):
    """A network's output on images (B, C, S, S).

    partner  (J,) int64, each joint's on the other side: averaged with what the mirrored images say (the flip test);
             None = not
    told     poses (B, J, 2) in the images' frame, of a network that is told them
    """
    output = network(images, *told)
    if partner is None:
        return output
    turned_over = (torch.stack([-pose[..., 0], pose[..., 1]], 2)[:, partner] for pose in told)
    return (output + network.mirrored(network(images.flip(3), *turned_over), partner)) / 2


def diameters(joints_px, skeleton, smallest):
    """The length of complete poses in which the cascade counts: the torso diameter, left shoulder to right hip; of a
    skeleton without it half the longer side of the pose's bounding box. Never below `smallest`.

    joints_px (N, J, 2), smallest in the same unit. Returns (N,).
    """
    if skeleton.diameter:
        a, b = skeleton.diameter_indices
        spans = (joints_px[:, a] - joints_px[:, b]).norm(dim=-1)
    else:
        spans = (joints_px.amax(1) - joints_px.amin(1)).amax(-1) / 2
    return spans.clamp(min=smallest)


def torso_turns(joints_px, skeleton):
    """How far complete poses are turned: degrees clockwise (M,) from upright, hips' middle below shoulders' middle.

    The torso's ends are those of the skeleton's diameter, each with its mirror partner; without a diameter, and where
    both ends lie in one place, 0.
    """
    if not skeleton.diameter:
        return torch.zeros_like(joints_px[:, 0, 0])
    top, bottom = ((joints_px[:, end] + joints_px[:, skeleton.mirror[end]]) / 2 for end in skeleton.diameter_indices)
    return torch.rad2deg(torch.atan2(top[:, 0] - bottom[:, 0], bottom[:, 1] - top[:, 1]))


def turned(points, degrees):
    """points (M, P, 2) turned about 0 by degrees (M,), clockwise as y points down."""
    radians = torch.deg2rad(degrees)
    cos, sin = radians.cos(), radians.sin()
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # (M, 2, 2)
    return points @ rotation.mT


def pose_squares(joints_px, skeleton, factor, smallest, upright=True):
    """Squares round complete poses, turned with their torsos.

    joints_px  (M, J, 2) crop pixels
    factor     side, in the pose's extent: the longer side of its bounding box, which is turned as the square is
    smallest   least diameter, crop pixels; no extent counts as less than two of it
    upright    whether the torso points up in the square; if not, the square is upright on the crop
    Returns    centres (M, 2) and sides (M,), crop pixels, and turns (M,), degrees, as `make_windows` takes them
    """
    turns = torso_turns(joints_px, skeleton) * upright
    own = turned(joints_px, -turns)
    low, high = own.amin(1), own.amax(1)  # (M, 2)
    centres = turned((low + high)[:, None] / 2, turns)[:, 0]
    return centres, factor * (high - low).amax(1).clamp(min=2 * smallest), turns


def look_again(network, images, windows, joints_px, reach, partner, flip_test=False):
    """Poses by a network that sees the persons in their windows, and is told the poses so far.

    images     (B, C, S, S) what the windows show
    windows    (B, 2, 3) on the persons' crops
    joints_px  (B, J, 2) the poses so far, crop pixels
    reach      (B,) crop pixels: a joint that moved no further has the middle of both places, since two looks that agree
               are better than either
    partner    (J,) int64, each joint's on the other side
    flip_test  average the network's output with that on the mirrored images
    Returns    joints (B, J, 2), crop pixels, and their confidence (B, J)
    """
    output = output_on(network, images, partner if flip_test else None, to_window(joints_px, windows))
    joints, confidence = network.joints(output)
    joints = to_crop(joints, windows)
    agree = (joints - joints_px).norm(dim=2) <= reach[:, None]
    return torch.where(agree[..., None], (joints + joints_px) / 2, joints), confidence


def both_sure(before, own):
    """Confidence (B, J) after a second look: the geometric mean of the first one's, or None, and its own. A network
    that is told a pose is too sure of it, and by itself tells sure joints from doubtful ones worse than the first."""
    return own if before is None else (before * own).sqrt()


@torch.inference_mode()
def refine_poses(network, persons, rows, joints_px, windows, reach, usual_side, input_size, flip_test=False,
                 batch_size=64, pixels=None):
    """One cascade stage that looks at whole persons again, see `look_again`.

    persons     Crops on the device of the network
    rows        (M,) int64 on that device, the persons to look at
    windows     (M, 2, 3) on their crops
    reach       (M,), see `look_again`
    usual_side  see `refine_joints`
    input_size  pixels along the network's square input
    pixels      see `predict_with_confidence`
    Returns     joints (M, J, 2), crop pixels, and their confidence (M, J)
    """
    network.eval()
    partner = torch.tensor(persons.skeleton.mirror, device=persons.device)
    reduction = reduction_for(usual_side, input_size)
    refined, confidence = torch.empty_like(joints_px), torch.empty_like(joints_px[..., 0])
    done = 0
    for crops, places in persons.crop_batches(rows.split(batch_size)):
        batch = slice(done, done := done + len(places))
        images = sample_windows(crops, places, windows[batch], input_size, reduction, pixels=pixels or persons.pixels)
        refined[batch], confidence[batch] = look_again(network, images, windows[batch], joints_px[batch],
                                                       reach[batch], partner, flip_test)
    return refined, confidence


@torch.inference_mode()
def refine_joints(networks, persons, rows, joints_px, sides, usual_side, batch_size=256, pixels=None):
    """One cascade stage: every joint's window computed from the same incoming pose, the displacement added in full
    (DeepPose, eq. 6).

    networks    joint index -> (network, which of its outputs); joints without one stay as they are
    persons     Crops on the device of the networks
    rows        (M,) int64 on that device, the persons to look at
    joints_px   (M, J, 2) their incoming poses, crop pixels
    sides       (M,) window sides, crop pixels
    usual_side  the median side in training, crop pixels: the rate at which pixels are averaged follows it, for all
                windows, so that a pose does not depend on who else is looked at
    pixels      see `predict_with_confidence`
    Returns     (M, J, 2), a new tensor
    """
    for model, _ in networks.values():
        model.eval()
    refined = joints_px.clone()
    done = 0
    for crops, places in persons.crop_batches(rows.split(batch_size)):
        batch = slice(done, done := done + len(places))
        for joint, (model, output) in networks.items():
            windows = make_windows(joints_px[batch, joint], sides[batch])
            size = model.arguments["crop_size"]
            images = sample_windows(crops, places, windows, size, reduction_for(usual_side, size),
                                    pixels=pixels or persons.pixels)
            refined[batch, joint] = to_crop(model.joints(model(images))[0][:, [output]], windows)[:, 0]
    return refined
