"""What is known of LSP's and LSPe's labels: from where their coordinates count, and who is in two splits at once.

Reads   the raw archives in RAW_DIR, the arrays that lsp_data.py made of them in DATA_DIR, CHECKPOINT_DIR/stage1.pt
Writes  RESULT_DIR/lsp_labels.json

The offset. A network that trained on mirrored images as well has no way to learn a constant by which labels lie to the
right: mirrored, they lie as far to the left, and habits that differ between the two sides of the body change sides.
With the flip test, labels less predictions therefore tell the constant along x. Along y the network has learnt what
it saw; but the same steps, which can be followed, made both coordinates. LSP's authors cut each image round the joints,
with 0.4 of the joints' width as a margin, and scaled it. LSPe's coordinates are places of a pointer on a picture shown
540.5 pixels long, times the image's share of that length; where places count from 0 and pixels are squares, that puts
them (1 - share) / 2 beyond the pixel's centre.

Twins. Two annotations of one person in one photograph have the same shape, and, laid over each other by their joints,
the same pixels, however the photograph was cut. Planted twins, cut from LSPe as LSP cuts, show how many are found.
"""
import io
import itertools

import numpy as np
import torch
from lsp_run import lsp_data  # importing it puts the project's folder on Python's path
from PIL import Image
from scipy.ndimage import map_coordinates
from tqdm import tqdm

from deeppose import archives, arrays, near_duplicates, stored_crops
from deeppose.claims import claimed
from deeppose.devices import Stopwatch, choose_device
from deeppose.errors import run
from deeppose.metrics import diameters, distances, joint_hits, overall_mean, paired_bootstrap
from deeppose.persons import load_persons
from deeppose.reports import provenance, score
from deeppose.settings import parse_settings
from deeppose.skeletons import LSP
from networks.trained_stages import load_stage1

RAW_DIR = "data/raw"            # holds lsp_dataset.zip and lspet_dataset.zip
DATA_DIR = "data"               # what lsp_data.py made of them
CHECKPOINT_DIR = "checkpoints/released"  # holds stage1.pt
RESULT_DIR = "results"          # where lsp_labels.json goes
SEED = 0                        # 0 ... 4294967295: seed of the bootstraps and of the planted twins
DEVICE = "auto"                 # auto, cpu, cuda, cuda:1, mps
DRAWS = 200                     # 10 ... 10000: bootstrap samples of persons for an interval
LARGEST_ERROR = 12.0            # 1.0 ... 1000: image pixels beyond which a prediction tells nothing of a label's place
SHOWN_SIDE = 540.5              # 1.0 ... 10000: longer side of the pictures that LSPe was annotated on, their pixels
RESIDUAL = 0.25                 # 0.0 ... 1: largest difference between two twins' shapes, in their spread
TURN = 12.0                     # 0.0 ... 45: largest turn between two twins, degrees
LIKENESS = 0.9                  # 0.0 ... 1: least correlation of twins' pixels
PLANTED = 200                   # 1 ... 5000: twins planted as a trial

# joints that both persons of a pair must have
LEAST_SHARED = 7
# scales at which pixels are compared: pixels to a person's spread
COARSE, FINE = 6, 18
# at each scale: steps along x and y in spreads and their number either way, steps of the size and their number
SEARCH = {COARSE: [(0.15, 1, 0.1, 1)], FINE: [(0.07, 2, 0.1, 1), (0.05, 1, 0.04, 1), (0.02, 2, 0.015, 1)]}
# likeness from which on all pairs that were looked at were one photograph; below they were two of a series
SAME = 0.95



def main(argv=None):
    settings = parse_settings(globals(), argv)
    with claimed(settings.result_dir, "results"):
        watch = Stopwatch()
        raw = {name: lsp_data.find(settings.raw_dir, name) for name in ("lsp", "lspet")}
        device = choose_device(settings.device)
        persons = {split: load_persons(settings.data_dir, split, device) for split in ("train", "test")}
        network = load_stage1(settings.checkpoint_dir, persons["train"], device)
        poses = {split: network.predict(own, torch.arange(len(own.crops), device=device), flip_test=True).cpu().numpy()
                 for split, own in persons.items()}
        content = {"what": "offsets of LSP's and LSPe's coordinates, image pixels; twins across the splits",
                   "offsets": offsets(raw, persons["train"], poses["train"], settings),
                   "margins": margins(raw["lsp"], settings), "scores": scores(raw, persons, poses, settings),
                   "twins": twins(raw, persons, poses["test"], settings),
                   **provenance(settings, watch.seconds, device)}
        arrays.save_json(f"{settings.result_dir}/lsp_labels.json", content)
    print(f"written: {settings.result_dir}/lsp_labels.json")


def offsets(raw, persons, pose, settings):
    """Labels as published less predictions, on training and validation persons."""
    edges = arrays.load(f"{settings.data_dir}/train_boxes.npy")
    numbers = np.array([int("".join(filter(str.isdigit, name))) for name in persons.dataset["train"]["image"]])
    away = np.full(pose.shape, np.nan)
    share = np.zeros(len(pose))
    for name, data in raw.items():
        mine = persons.sources == name
        away[mine] = data.joints[numbers[mine] - 1] + data.offset
        share[mine] = persons_sizes(data)[numbers[mine] - 1].max(1) / settings.shown_side
    away -= stored_crops.to_image_px(pose.astype(float), edges, persons.crop_size)
    away[distances(away, 0) > settings.largest_error] = np.nan
    spans = diameters(persons.truth, LSP) * edges[:, 2] / persons.crop_size  # image pixels
    generator = np.random.default_rng(settings.seed)
    result = {}
    for name in raw:
        mine = persons.sources == name
        parts = {"all": mine, "train": mine & ~persons.held_out, "validation": mine & persons.held_out}
        thirds = np.nanquantile(spans[mine], [0, 1 / 3, 2 / 3, 1])
        parts |= {f"torso of {low:.0f} to {high:.0f} px": mine & (low <= spans) & (spans <= high)
                  for low, high in itertools.pairwise(thirds)}
        result[name] = {part: located(away[rows], np.ones((rows.sum(), 1)), settings.draws, generator)
                        for part, rows in parts.items()}
    mine = persons.sources == "lspet"
    fit = located(away[mine], np.column_stack([np.ones(mine.sum()), share[mine]]), settings.draws, generator)
    result["lspet"]["constant, and change with the image's share of the shown side"] = fit
    result["lspet"]["mean share"] = share[mine].mean()
    for name, parts in result.items():
        print(f"{name}: labels lie {parts['all']['x']} px right and {parts['all']['y']} px below predictions")
    return result


def persons_sizes(data):
    """Width and height of each image, (N, 2) by number - 1; read from the files' heads."""
    sizes = np.zeros((len(data.joints), 2))
    with archives.opened(data.path) as read:
        for number, member in data.members.items():
            sizes[number - 1] = Image.open(io.BytesIO(read(member))).size
    return sizes


def located(away, factors, draws, generator):
    """Coefficients of a robust regression of joints' differences on persons' factors, with intervals over persons.

    away     (N, J, 2), NaN = does not count
    factors  (N, F)
    Returns  x and y: one number each where F is 1, else a list; with _low and _high, the middle 95% of bootstrap draws
    """
    drawn = np.array([student_fit(away, factors, np.bincount(generator.integers(len(away), size=len(away)),
                                                             minlength=len(away))) for _ in range(draws)])
    numbers = {"": student_fit(away, factors, np.ones(len(away)))}
    numbers |= {end: np.percentile(drawn, q, 0) for end, q in (("_low", 2.5), ("_high", 97.5))}
    return {"persons": len(away)} | {
        axis + end: np.round(value[:, column], 3).squeeze().tolist()
        for column, axis in enumerate("xy") for end, value in numbers.items()}


def student_fit(away, factors, weights, freedom=2.0):
    """Regression under Student's t of two degrees of freedom, whose tails are as heavy as the errors of poses.

    away (N, J, 2), factors (N, F), weights (N,). Returns (F, 2).
    """
    counts = ~np.isnan(away[..., 0])
    away, person = away[counts], np.nonzero(counts)[0]
    factors, weights, coefficients = factors[person], weights[person], np.zeros((factors.shape[1], 2))
    variance = 4.0
    for _ in range(100):
        rest = away - factors @ coefficients
        shares = weights * (freedom + 2) / (freedom + (rest ** 2).sum(1) / variance)
        before, scaled = coefficients, (factors * shares[:, None]).T
        coefficients = np.linalg.solve(scaled @ factors, scaled @ away)
        variance = (shares * (rest ** 2).sum(1)).sum() / weights.sum() / 2
        if np.abs(coefficients - before).max() < 1e-4:
            break
    return coefficients


def margins(lsp, settings):
    """LSP's crops: medians of each margin less 0.4 of the joints' width, image pixels, training images alone.

    Left and top tell where 0 lies: at the first pixel kept, whose place was rounded. Right and bottom have one original
    pixel more, and what rounding the image's size up added.
    """
    count = 1000
    joints, sizes = lsp.joints[:count] + lsp.offset, persons_sizes(lsp)[:count]
    low, high = joints.min(1), sizes - joints.max(1)
    width = np.ptp(joints[..., 0], axis=1)
    result = {}
    for name, margin in (("left", low[:, 0]), ("top", low[:, 1]), ("right", high[:, 0]), ("bottom", high[:, 1])):
        rest = margin - 0.4 * width
        kept = rest[np.abs(rest - 0.4) < 1.5]  # others end at the photograph's edge
        result[name] = {"images": len(kept), "median_px": round(float(np.median(kept)), 3),
                        "mean_px": round(float(kept.mean()), 3)}
    return result


def scores(raw, persons, poses, settings):
    """The checkpoint's scores against labels as published and as read, and the gain with its interval, percent."""
    result = {}
    for split, title in (("train", "validation"), ("test", "test")):
        own = persons[split]
        edges = arrays.load(f"{settings.data_dir}/{split}_boxes.npy")
        shift = np.array([raw[name].offset for name in own.sources]) * own.crop_size / edges[:, 2]
        for name in raw:
            rows = (own.sources == name) & (own.held_out | (split == "test"))
            if not rows.any():
                continue
            truths = {"published": own.truth[rows] + shift[rows, None, None], "read": own.truth[rows]}
            result[f"{title} {name}"] = found = {}
            for metric, threshold in (("pck@0.2", 0.2), ("pdj@0.1", 0.1), ("pdj@0.05", 0.05)):
                hits = {label: joint_hits(poses[split][rows], truth, diameters(truth, LSP), threshold)
                        for label, truth in truths.items()}
                gain, (low, high) = paired_bootstrap(hits["published"], hits["read"], seed=settings.seed)
                found[metric] = {label: 100 * overall_mean(own_hits) for label, own_hits in hits.items()}
                found[metric] |= {"gain": 100 * gain, "gain_low": 100 * low, "gain_high": 100 * high}
    return result


def twins(raw, persons, pose, settings):
    """Pairs of a test or validation person and a training person who are one person in one photograph."""
    images, train = lsp_data.list_persons(raw, 1000)[0], persons["train"]
    names = np.array([f"{source} {image}" for source, image in zip(images.source, images.image)])
    rows = np.char.add(np.char.add(train.sources, " "), train.dataset["train"]["image"])
    held = np.isin(names, rows[train.held_out])
    people, thumbnails = People(), []
    for path in dict.fromkeys(images.path):
        with archives.opened(path) as read:
            for row in tqdm(np.flatnonzero(images.path == path), desc="reading", leave=False, disable=None):
                image = stored_crops.decode(read, images.member[row])
                people.add(image, images.joints[row])
                thumbnails.append(near_duplicates.thumbnail(image))
    hashes = [near_duplicates.hashes(np.array(thumbnails)[..., ::step]) for step in (1, -1)]

    def pairs(queries, others):
        return [{"first": names[first], "second": names[second], "mirrored": mirrored,
                 "shapes_differ": round(residual, 3), "likeness": round(likeness, 3),
                 "hash_distance": int(np.bitwise_count(hashes[0][first] ^ hashes[mirrored][second]).sum())}
                for first, second, mirrored, residual, likeness in people.twins(queries, others, settings)]

    result = {"test": pairs(np.flatnonzero(images.test), np.flatnonzero(~images.test)),
              "validation": pairs(np.flatnonzero(held), np.flatnonzero(~images.test & ~held))}
    for pair in itertools.chain(*result.values()):
        print("{first}  {second}  likeness {likeness}, shapes differ by {shapes_differ}, hashes by {hash_distance} bits"
              .format(**pair))
    result["planted"] = planted(people, raw["lspet"], images, settings)
    print("planted twins found: {found} of {planted}, {found_by_hash} by the hashes of whole images".format(
        **result["planted"]))
    own = persons["test"]
    for least in (SAME, settings.likeness):
        left_out = {pair["first"] for pair in result["test"] if pair["likeness"] >= least}
        kept = ~np.isin(np.char.add("lsp ", own.dataset["test"]["image"]), sorted(left_out))
        found = score(pose[kept], own.truth[kept], own.head_sizes[kept], LSP)
        result[f"scores without test persons whose twins are alike by {least}"] = {
            "left_out": int((~kept).sum()), "pck@0.2": found["pck@0.2"]["mean"],
            "pcp_strict@0.5_mean8": found["pcp_strict@0.5"]["mean8"]}
    return result


def planted(people, lspet, images, settings):
    """How many persons are found again who were cut from LSPe's photographs as LSP cuts, joints 7% of a spread off."""
    generator, new, hashed = np.random.default_rng(settings.seed), [], 0
    known = (~np.isnan(images.joints).any(2)).sum(1)
    rows = generator.permutation(np.flatnonzero((images.source == "lspet") & (known >= 12)))[:settings.planted]
    with archives.opened(lspet.path) as read:
        for row in rows:
            image, joints = stored_crops.decode(read, images.member[row]), images.joints[row]
            low, high = np.nanmin(joints, 0), np.nanmax(joints, 0)
            margin = 0.4 * (high - low)[0]
            left, top = np.maximum(low - margin, 0).round().astype(int)
            right, bottom = np.minimum(high + margin, np.array(image.size) - 1).round().astype(int) + 1
            scale = generator.uniform(0.7, 1)
            size = [max(8, round(side * scale)) for side in (right - left, bottom - top)]
            cut, file = image.crop((left, top, right, bottom)).resize(size, Image.Resampling.BICUBIC), io.BytesIO()
            cut.save(file, "JPEG", quality=75)
            cut = Image.open(file)
            one, other = near_duplicates.hashes(np.stack(list(map(near_duplicates.thumbnail, (image, cut)))))
            hashed += np.bitwise_count(one ^ other).sum() <= lsp_data.DUPLICATE_DISTANCE
            joints = joints + generator.normal(0, 0.07 * spread(joints) / 2 ** 0.5, joints.shape)
            new.append(people.add(cut, (joints + 0.5 - (left, top)) * scale - 0.5))
    found = people.twins(np.array(new), np.flatnonzero(~images.test), settings)
    right = [second == rows[new.index(first)] for first, second, *_ in found]
    return {"planted": len(new), "found": int(sum(right)), "other_pairs": int(len(right) - sum(right)),
            "found_by_hash": int(hashed)}


def spread(joints):
    """Root of the joints' mean squared distance from their centre. joints (J, 2), NaN = not annotated."""
    return np.sqrt(np.nanvar(joints, axis=0).sum())


class People:
    """Persons' joints, and their photographs at two scales, in grey."""

    def __init__(self):
        self.joints, self.extents, self.pictures = [], [], []

    def add(self, image, joints):
        """image PIL, joints (J, 2) image pixels, NaN = not annotated. Returns the person's number."""
        known = (~np.isnan(joints[:, 0])).sum() >= LEAST_SHARED
        size = spread(joints) if known else 0  # whoever has fewer joints is never looked at
        self.pictures.append({scale: np.asarray(image.convert("L").resize(
            [max(2, round(side * scale / size)) for side in image.size], Image.Resampling.BOX))
            for scale in (COARSE, FINE)} if size >= 1 else None)
        self.joints.append(joints if size >= 1 else np.full_like(joints, np.nan))
        self.extents.append(image.size)
        return len(self.joints) - 1

    def twins(self, queries, others, settings):
        """(query, other, mirrored, difference of shapes, likeness), the likest first."""
        found = []
        for first, second, mirrored, residual in tqdm(list(self.alike(queries, others, settings)), desc="comparing",
                                                      leave=False, disable=None):
            if self.likeness(first, second, mirrored, COARSE) >= settings.likeness - 0.2:
                likeness = self.likeness(first, second, mirrored, FINE)
                if likeness >= settings.likeness:
                    found.append((int(first), int(second), int(mirrored), float(residual), float(likeness)))
        return sorted(found, key=lambda pair: -pair[-1])

    def alike(self, queries, others, settings):
        """Pairs whose joints a shift, a scale and a small turn lay over each other; (query, other, mirrored,
        root mean square of what is left in the spread)."""
        places = np.array(self.joints) @ (1, 1j)
        turned = places[:, list(LSP.mirror)]
        for mirrored, table in enumerate((places, -turned.conj())):
            b, b_known = centred(table[others])
            for part in np.array_split(queries, max(1, len(queries) // 250)):
                a, a_known = centred(places[part])
                shared = a_known @ b_known.T
                # sums over the joints that both have
                a_sum, b_sum = a @ b_known.T, a_known @ b.T
                n = np.maximum(shared, 1)
                a_square = np.abs(a) ** 2 @ b_known.T - np.abs(a_sum) ** 2 / n
                b_square = a_known @ (np.abs(b) ** 2).T - np.abs(b_sum) ** 2 / n
                product = a.conj() @ b.T - a_sum.conj() * b_sum / n
                left = 1 - np.abs(product) ** 2 / np.maximum(a_square * b_square, 1e-9)
                near = (left < settings.residual ** 2) & (shared >= LEAST_SHARED) & (
                    np.abs(np.angle(product, deg=True)) < settings.turn)
                for row, column in zip(*np.nonzero(near)):
                    yield part[row], others[column], mirrored, np.sqrt(max(left[row, column], 0))

    def likeness(self, first, second, mirrored, scale):
        """The largest correlation of the pixels round one person with those of another, found by shifts and scales."""
        a, b = self.joints[first], self.joints[second]
        picture = self.pictures[second][scale]
        if mirrored:
            b, picture = b[list(LSP.mirror)] * (-1, 1) + (self.extents[second][0] - 1, 0), picture[:, ::-1]
        known = ~np.isnan(a - b).any(1)
        a_centre, b_centre = a[known].mean(0), b[known].mean(0)
        size = spread(a[known])
        ratio = spread(b[known]) / size
        low, high = np.nanmin(a, 0) - size / 4, np.nanmax(a, 0) + size / 4
        places = np.stack(np.meshgrid(*(np.arange(*ends, size / scale) for ends in zip(low, high))), -1).reshape(-1, 2)
        own = self.pictures[first][scale]
        to_own, to_other = ((np.array(shape.shape[::-1]) / extent) for shape, extent in (
            (own, self.extents[first]), (picture, self.extents[second])))
        seen, inside = pixels(own, (places + 0.5) * to_own - 0.5)
        shift, log_scale, best = np.zeros(2), 0.0, -1.0
        for step, count, size_step, size_count in SEARCH[scale]:
            ticks, sizes = np.arange(-count, count + 1) * step, np.arange(-size_count, size_count + 1) * size_step
            tried = np.stack(np.meshgrid(ticks, ticks, sizes), -1).reshape(-1, 3) + (*shift, log_scale)
            grown = ratio * np.exp(tried[:, None, 2:])  # (T, 1, 1)
            moved = b_centre + tried[:, None, :2] * size * ratio + grown * (places - a_centre)  # (T, P, 2)
            others, within = pixels(picture, (moved + 0.5) * to_other - 0.5)
            found = correlation(seen, others, inside & within)
            top = found.argmax()
            shift, log_scale, best = tried[top, :2], tried[top, 2], found[top]
        return best


def centred(table):
    """Complex places (N, J), NaN = unknown -> the same about their centres, 0 where unknown, and which are known."""
    known = ~np.isnan(table)
    table = np.where(known, table, 0)
    table -= (table.sum(1) / np.maximum(known.sum(1), 1))[:, None] * known
    return table.astype(np.complex64), known.astype(np.float32)


def pixels(picture, places):
    """Values at places (..., 2), bilinear, and whether they lie within."""
    height, width = picture.shape
    x, y = np.moveaxis(places, -1, 0)
    within = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    return map_coordinates(picture.astype(np.float32), [y, x], order=1, mode="nearest"), within


def correlation(one, others, counts):
    """Of one (P,) with each of others (T, P), where counts (T, P); -1 where fewer than 60% count."""
    n = counts.sum(1)
    means = [(np.where(counts, values, 0).sum(1) / np.maximum(n, 1))[:, None] for values in (one, others)]
    one, others = (np.where(counts, values - mean, 0) for values, mean in zip((one, others), means))
    norm = np.sqrt((one ** 2).sum(1) * (others ** 2).sum(1))
    return np.where(n > 0.6 * counts.shape[1], (one * others).sum(1) / np.maximum(norm, 1e-6), -1)


if __name__ == "__main__":
    run(main)
