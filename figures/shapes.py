"""Tubes and balls of coloured quads, turned, lit and seen: what figures are made of."""
import colorsys

import numpy as np

# Three axes throughout: x to the image's right, y down, z towards the viewer, in heights of the person. At rest the
# person faces the viewer upright, so that x also points to the person's left. The camera looks along z from afar.

RINGS, SIDES = 9, 12


def turn(axis, degrees):
    """Rotation matrix about an axis: x lifts what hangs down forwards, y turns the front to the right, z clockwise."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


def tube(frame, start, length, radii, bands):
    """A limb with round ends, along the frame's second axis from `start`.

    radii  at the start, in the middle and at the end
    bands  8 colours along it, or one
    """
    first, middle, last = radii
    along = np.array([-first, -0.7 * first, 0, 0.25 * length, 0.5 * length, 0.75 * length, length, length + 0.7 * last,
                      length + last])[:, None]
    radius = np.array([0.05 * first, 0.7 * first, first, (first + middle) / 2, middle, (middle + last) / 2, last,
                       0.7 * last, 0.05 * last])[:, None]
    colours = np.broadcast_to(np.array(bands, float)[:, None], (RINGS - 1, SIDES, 3))
    return start + along * frame[:, 1], radius * frame[:, 0], radius * frame[:, 2], colours


def ball(frame, centre, radii, colour):
    """An ellipsoid; radii along the frame's axes. `colour` is one, or one for each band and side."""
    turns = np.linspace(-np.pi / 2, np.pi / 2, RINGS)[:, None]
    return (centre - np.sin(turns) * radii[1] * frame[:, 1], np.cos(turns) * radii[0] * frame[:, 0],
            np.cos(turns) * radii[2] * frame[:, 2], np.broadcast_to(np.asarray(colour, float), (RINGS - 1, SIDES, 3)))


def random_colour(rng, liveliest=1):
    """A random colour, (3,) float in 0 ... 255, of at most the given saturation."""
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.4, 1.6) * liveliest, rng.beta(2.4, 1.4)))


def surface(parts):
    """The quads between the rings of tubes. Returns quads (M, 4, 3), normals (M, 3) outwards, colours (M, 3)."""
    centres, wide, deep, colours = (np.stack(arrays) for arrays in zip(*parts))
    turns = 2 * np.pi * (np.arange(SIDES) - 0.5) / SIDES  # side 3 looks forward, side 0 to the left
    rings = (centres[:, :, None] + np.cos(turns)[:, None] * wide[:, :, None]
             + np.sin(turns)[:, None] * deep[:, :, None])  # (P, RINGS, SIDES, 3)
    after = np.roll(rings, -1, axis=2)
    quads = np.stack([rings[:, :-1], after[:, :-1], after[:, 1:], rings[:, 1:]], axis=3)  # (P, RINGS-1, SIDES, 4, 3)
    normals = np.cross(quads[..., 2, :] - quads[..., 0, :], quads[..., 3, :] - quads[..., 1, :])
    middles = (centres[:, :-1] + centres[:, 1:])[:, :, None] / 2
    outwards = ((quads.mean(3) - middles) * normals).sum(-1, keepdims=True)
    normals *= np.where(outwards < 0, -1, 1) / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    return quads.reshape(-1, 4, 3), normals.reshape(-1, 3), colours.reshape(-1, 3)


def lit(parts, root, light, ambient):
    """What the viewer sees of tubes turned by `root`.

    Returns  quads (M, 4, 3) that face the viewer; their shaded colours (M, 3); the part that each belongs to (M,) int
    """
    quads, normals, colours = surface(parts)
    normals = normals @ root.T
    shade = ambient + (1.15 - ambient) * (normals @ light).clip(0)
    facing, = np.nonzero(normals[:, 2] > 0)
    return quads[facing] @ root.T, (colours * shade[:, None])[facing], facing // ((RINGS - 1) * SIDES)
