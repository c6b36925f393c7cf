"""Photographs that show the same picture, found by a perceptual hash (the signs of an image's low frequencies).

And the frames of films, of which neighbours are nearly alike.
"""
import math
from collections import defaultdict

import numpy as np
from PIL import Image

from .errors import UserError
from .inputs import by_numbers

THUMBNAIL = 32  # side of the grey thumbnail that is hashed, pixels
_CHUNK = 256    # rows compared at once: 256 x 12,000 distances need 50 MB
_MOST_PAIRS = 200  # of an image, on the average; more would fill the memory


def thumbnail(image):
    """A PIL image of any size -> (32, 32) uint8 grey; the aspect is not kept, so that crops of one photograph agree."""
    if image.mode == "F":  # one channel of 8 or 16 bits; the hash looks at no scale
        image = image.point(lambda value: value * (255 / max(image.getextrema()[1], 1)))
    return np.asarray(image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def hashes(thumbnails):
    """Perceptual hashes.

    thumbnails  (N, 32, 32) uint8
    Returns     (N, 4) uint64: 255 bits, each telling whether one of the frequencies lies above their median
    """
    import scipy.fft  # here, since whoever only cuts crops would wait for it
    frequencies = scipy.fft.dctn(np.asarray(thumbnails, np.float32), axes=(1, 2))[:, :16, :16]
    frequencies = frequencies.reshape(-1, 256)[:, 1:]  # (N, 16, 16) -> (N, 255), without the mean
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(np.pad(bits, ((0, 0), (0, 1))), axis=1).view(np.uint64)


def near_pairs(thumbnails, largest_distance):
    """All pairs of images whose hashes, or one's hash and the other's mirrored hash, differ in few bits.

    thumbnails        (N, 32, 32) uint8
    largest_distance  bits of 255
    Returns           pairs (P, 2) int, first < second; distances (P,) int; mirrored (P,) bool
    Raises            UserError where so many are near that the distance can't tell duplicates
    """
    thumbnails = np.asarray(thumbnails)
    plain, turned = hashes(thumbnails), hashes(thumbnails[:, :, ::-1])
    found, count = [], 0
    for start in range(0, len(plain), _CHUNK):
        rows = plain[start:start + _CHUNK, None]
        straight, mirrored = (np.bitwise_count(rows[..., 0] ^ other[start:, 0]).astype(np.uint16) +
                              sum(np.bitwise_count(rows[..., w] ^ other[start:, w]) for w in (1, 2, 3))
                              for other in (plain, turned))
        distances = np.minimum(straight, mirrored)
        first, second = np.nonzero(np.triu(distances <= largest_distance, 1))
        count += len(first)
        if count > _MOST_PAIRS * len(plain):
            raise UserError(f"--duplicate-distance {largest_distance} makes near duplicates of more than {count:,} "
                            f"pairs among {len(plain):,} images; lower it")
        found.append(np.stack([first + start, second + start, distances[first, second],
                               mirrored[first, second] < straight[first, second]], axis=1).astype(np.int64))
    found = np.concatenate(found) if found else np.zeros((0, 4), np.int64)
    return found[:, :2], found[:, 2], found[:, 3].astype(bool)


def group(count, pairs):
    """Number each image's group: images joined by a chain of pairs share one.

    count    number of images
    pairs    (P, 2) int
    Returns  (count,) int, 0 ... groups - 1
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]


def blocks(names, frames):
    """Number the blocks of neighbouring frames: of each folder in turn, its images in the order of their numbers.

    Films' neighbours are nearly alike, and chains of neighbours reach from a film's first frame to its last: where
    they may not be torn apart a whole film stays together, and all of a data set that is one film. Blocks tear them,
    at their two ends only.

    names    (N,) str, with their folders; equal names share a block
    frames   of a block at most, more than 0
    Returns  (N,) int, 0 ... blocks - 1; those of one folder differ in length by one at most
    """
    films = defaultdict(list)
    for name in dict.fromkeys(names):
        films[name.rpartition("/")[0]].append(name)
    block, count = {}, 0
    for film in films.values():
        film.sort(key=by_numbers)
        parts = math.ceil(len(film) / frames)
        block.update((name, count + place * parts // len(film)) for place, name in enumerate(film))
        count += parts
    return np.array([block[name] for name in names], int)


def hold_out(groups, strata, barred, share, generator):
    """Choose whole groups at random, of each stratum its share or as near below it as they allow.

    groups     (N,) int, see `group`
    strata     (N,) str, e.g. the data set of each image
    barred     (N,) bool; a group that holds one of them is never chosen
    share      of each stratum's images, 0 ... 1
    generator  numpy.random.Generator
    Returns    (N,) bool; each stratum gives round(share * its size) at most, and a group that would take one beyond is
               passed over
    """
    names, column = np.unique(strata, return_inverse=True)
    sizes = np.zeros((groups.max(initial=-1) + 1, len(names)), int)
    np.add.at(sizes, (groups, column), 1)
    room = np.array([round(share * size) for size in sizes.sum(0)])
    chosen = np.zeros(len(sizes), bool)
    barred = np.isin(np.arange(len(sizes)), groups[barred])
    for place in range(len(names)):
        for number in generator.permutation(np.flatnonzero((sizes[:, place] > 0) & ~barred & ~chosen)):
            if (sizes[number] <= room).all():
                chosen[number] = True
                room -= sizes[number]
    return chosen[groups]
