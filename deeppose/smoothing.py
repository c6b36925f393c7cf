"""Poses smoothed over the frames of a film: Savitzky & Golay, Analytical Chemistry, 1964, a polynomial fitted to each
joint's neighbourhood in time. It keeps steady motion, which a moving average would shorten."""
import functools

import numpy as np

from .person_boxes import shared

ORDER = 2           # of the polynomial
LEAST_SHARED = 0.3  # of the boxes of one person in neighbouring frames
JUMP = 0.1          # box sides from frame to frame beyond which a joint is taken for having been mistaken, not moved


def windows(items, reach):
    """Each of a sequence with its neighbours: a list of up to `reach` before it, itself and as many after it, and its
    place in there. No more are kept."""
    recent, place = [], 0
    for item in items:
        recent.append(item)
        if len(recent) - place > reach:
            yield recent, place
            place += 1
            if place > reach:
                recent, place = recent[1:], place - 1
    while place < len(recent):
        yield recent, place
        place += 1
        if place > reach:
            recent, place = recent[1:], place - 1


def smoothed(frames, place):
    """The poses of a frame, smoothed.

    frames   list of (joints (P, J, 2), boxes (P, 3)) of consecutive frames, P of each its own
    place    of the frame among them
    Returns  (P, J, 2). Each person is followed to both sides as long as the next frame has a box much like the last,
             and each joint as long as it does not jump, as from the left knee to the right one: smoothed, it would lie
             between the two. A jump there and back within a frame is left out. What is no number stays so.
    """
    joints, boxes = frames[place]
    result = np.array(joints)
    for person, (pose, box) in enumerate(zip(joints, boxes)):
        before = _followed(reversed(frames[:place]), box)[::-1]
        track = _without_spikes(np.stack([*before, pose, *_followed(frames[place + 1:], box)]), JUMP * box[2])
        steps = np.linalg.norm(np.diff(track, axis=0), axis=2) <= JUMP * box[2]  # (T - 1, J), False at NaN
        for joint, near in enumerate(steps.T):
            first = len(before) - _run(near[:len(before)][::-1])
            last = len(before) + _run(near[len(before):])
            result[person, joint] = track[len(before), joint]
            if last - first > ORDER:  # to fewer the polynomial fits exactly
                result[person, joint] = _weights(last - first + 1, len(before) - first) @ track[first:last + 1, joint]
    return result


def _without_spikes(track, farthest):
    """A track (T, J, 2) in which a joint that is far from where it is in both neighbouring frames lies between them."""
    track, middle = np.array(track), (track[:-2] + track[2:]) / 2
    back = np.linalg.norm(track[2:] - track[:-2], axis=2) <= 2 * farthest
    spike = back & (np.linalg.norm(track[1:-1] - middle, axis=2) > farthest)
    track[1:-1][spike] = middle[spike]
    return track


def _run(steps):
    """How many of the first are True."""
    return len(steps) if steps.all() else int(np.argmin(steps))


def _followed(frames, box):
    """The poses (J, 2) of the person of a box in one frame after another, as long as it can be told."""
    poses = []
    for joints, boxes in frames:
        if not len(boxes):
            break
        alike = shared(boxes, np.broadcast_to(box, boxes.shape))
        if alike.max() < LEAST_SHARED:
            break
        box = boxes[alike.argmax()]
        poses.append(joints[alike.argmax()])
    return poses


@functools.cache
def _weights(length, place):
    """Of each of `length` frames in the polynomial's value at one of them."""
    from scipy.signal import savgol_coeffs  # here, since few runs smooth
    return savgol_coeffs(length, ORDER, pos=place, use="dot")
