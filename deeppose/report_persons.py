"""The parts of a report that show persons: a gallery, and the road to a pose step by step."""
import math
from dataclasses import dataclass

import numpy as np

from .comparison import changed_most, person_errors
from .looks import COLOURS, TRUTH
from .report_errors import KINDS
from .report_html import (
    anchor,
    arrow,
    details,
    element,
    missing,
    paragraph,
    picture,
    pose_layer,
    ring,
    section,
    square,
    table,
)
from .reports import cell
from .skeletons import Skeleton


@dataclass
class GalleryPerson:
    """image     name of the photograph
    pixels    (s, s, C) the box
    truth     (J, 2) its pixels, NaN = not annotated
    poses     [(stage's name, (J, 2), mean error, how many joints are of which kind, in words), ...]
    skeleton  of them
    """
    image: str
    pixels: np.ndarray
    truth: np.ndarray
    poses: list
    skeleton: Skeleton


def gallery_of(poses, kinds, persons, count):
    """Whom a gallery shows: its groups, and its function of a row.

    poses    name -> (N, J, 2) crop pixels, in the order of stages
    kinds    name -> (N, J) of report_errors.error_kinds
    persons  the test split, on a CPU
    count    persons of each group at most
    """
    if not poses:
        return [], None
    names = list(poses)
    errors = {name: person_errors(pose, persons.truth, persons.skeleton, persons.box_side)
              for name, pose in poses.items()}
    last = errors[names[-1]]
    order = np.argsort(last, kind="stable")
    order = order[np.isfinite(last[order])]
    middle = max(0, (len(order) - count) // 2)
    groups = [("Worst", f"The largest errors of {names[-1]}.", order[::-1][:count].tolist(), False),
              ("Median", f"As many persons have smaller errors of {names[-1]} as larger ones.",
               order[middle:middle + count].tolist(), False),
              ("Best", f"The smallest errors of {names[-1]}.", order[:count].tolist(), False)]
    if len(names) > 1:
        changed = zip(("better", "worse"), changed_most(errors[names[0]], last, count))
        groups[2:2] = [(f"Became {kind} most", f"From {names[0]}, left, to {names[-1]}, right.", rows.tolist(), True)
                       for kind, rows in changed]
    if persons.skeleton.pairs:
        exchanged = (kinds[names[-1]] == KINDS.index("exchanged")).sum(1)
        most = np.argsort(-exchanged, kind="stable")[:count]
        groups.append(("Exchanged most", f"The most joints of {names[-1]} that lie where the other side's are.",
                       most[exchanged[most] > 0].tolist(), False))

    def person(row):
        (crop,), margin = persons.boxes_shown([row])
        chosen = dict.fromkeys((names[0], names[-1]))
        return GalleryPerson(persons.dataset["test"]["image"][row], crop, persons.truth[row] - margin,
                             [(name, poses[name][row] - margin, float(errors[name][row]), _in_words(kinds[name][row]))
                              for name in chosen],
                             persons.skeleton)
    return groups, person


def _in_words(kinds):
    """How many joints of a person are of which kind: (J,) of report_errors.error_kinds."""
    counts = [(int((kinds == number).sum()), kind) for number, kind in enumerate(KINDS)]
    return ", ".join(f"{count} {kind}" for count, kind in counts if count) or "none counts"


def gallery(groups, persons, unit, pictures, roads, why):
    """Test persons in groups that links reach.

    groups   [(title, what it means, rows, whether two stages are shown)]
    persons  function of a row: a GalleryPerson
    unit     of their errors, in words
    roads    rows whose road the page has
    why      where there are no groups, what is missing
    """
    if not groups:
        return section("gallery", "Gallery", missing(why))
    switches = element("fieldset", element("legend", "Shown over the pictures"), *(
        element("label", element("input", type="checkbox", id=f"show-{name}", checked=True), title)
        for name, title in (("truth", "true pose (white)"), ("predicted", "predicted pose (in colour)"))),
        class_="switches")
    jumps = element("ul", *(element("li", element("a", title, href=f"#{anchor(title)}")) for title, *_ in groups),
                    class_="jumps")
    parts, there = [], set()
    for title, meaning, rows, both in groups:
        cards = [_card(persons(row), row, both, unit, pictures, roads, there) for row in rows]
        parts += [element("h3", title, id=anchor(title)), paragraph(meaning), element(
            "div", *cards, class_="cards pairs" if both else "cards") if cards else missing("Nobody.")]
    legend = paragraph("The person's right is orange, the left blue, the middle pink. Errors are means over a person's "
                       f"joints, in {unit}; a joint that is farther off than 1 counts 1.")
    return section("gallery", "Gallery", jumps, legend, switches, *parts)


def _card(person, row, both, unit, pictures, roads, there):
    """there: names of the pictures that the page holds so far, which are not put in again."""
    name, size, shown = f"person-{row}", person.pixels.shape[0], person.poses if both else person.poses[-1:]
    drawn = []
    for stage, pose, error, told in shown:
        again = name in there
        there.add(name)
        drawn.append(picture(
            f"{person.image}: the true pose, and {stage}'s with a mean error of {error:.2f} {unit}; joints: "
            f"{told}",
            name if again else pictures.of(person.pixels), size,
            pose_layer(person.truth, person.skeleton, size, "truth", "layer-truth"),
            pose_layer(pose, person.skeleton, size, "predicted", "layer-predicted"), name=name, again=again))
    caption = [f"{person.image}: " + ", ".join(f"{stage} {error:.2f}" for stage, _, error, _ in shown)]
    caption.append(f" ({shown[-1][-1]})")
    if row in roads:
        caption += [" ", element("a", "its road", href=f"#road-{row}")]
    return element("figure", element("div", *drawn, class_="two") if both else drawn, element("figcaption", *caption))


def roads(found, pictures, skeleton, why):
    """found: [(name, title, facts, Road, truth (J, 2) crop pixels or None)]; why: where there are none, the reason."""
    if not found:
        return section("roads", "The road to a pose", missing(why))
    intro = paragraph("What the network was given, step by step. White rings are the truth, where it is known and "
                      "within the picture.")
    return section("roads", "The road to a pose", intro, *(
        _road(name, title, facts, way, truth, pictures, skeleton) for name, title, facts, way, truth in found))


def _road(name, title, facts, way, truth, pictures, skeleton):
    side, crop = way.crop.shape[0], pictures.of(way.crop)
    middle = np.full(2, (side - 1) / 2)
    known = [] if truth is None else [pose_layer(truth, skeleton, side, "truth")]
    seen = way.first.seen
    steps = [_step("The window that stage 1 sees", element(
        "div",
        element("figure", picture(f"{title}: the stored crop with the box in its middle", crop, side,
                                  square(middle, way.box, side, COLOURS["centre"]), name=f"{name}-crop"),
                element("figcaption", f"the stored crop, {side} pixels; the box in it")),
        element("figure", picture(f"{title}: what stage 1 sees", pictures.of(seen), len(seen)),
                element("figcaption", f"what the network sees: the box at {len(seen)} pixels")),
        class_="cards large")), _step("Its heatmaps", *_heatmaps(title, way.first, way.poses[0], truth, pictures,
                                                                 skeleton))]
    for number, (pose, sure) in enumerate(zip(way.poses, way.confidences), 1):
        if number > 1:
            look = way.refinements[number - 2]
            if look.windows:
                steps.append(_step(f"Stage {number}: each joint's window", *_windows(
                    title, number, way, truth, pictures, skeleton)))
            else:
                steps.append(_step(f"Stage {number}: the person again", *_whole(
                    title, number, way, truth, pictures, skeleton)))
        figure = element("figure", picture(
            f"{title}: the pose after stage {number}", f"{name}-crop", side, *known,
            pose_layer(pose, skeleton, side, "predicted"), again=True),
            element("figcaption", f"stage {number}'s pose" + ("" if truth is None else ", the true one in white")))
        steps.append(_step(f"The pose after stage {number}", element("div", figure, class_="cards large"), details(
            "Numbers", _pose_table(number, pose, sure, truth, skeleton, side))))
    return element("article", element("h3", title, id=name), paragraph(facts), element("ol", *steps, class_="road"))


def _step(title, *content):
    return element("li", element("h4", title), *content)


def _heatmaps(title, look, pose, truth, pictures, skeleton):
    """Each joint's heatmap over the window in grey, with the joint of the pose (J, 2), crop pixels."""
    if look.maps is None:
        return [missing("None: this network gives coordinates at once.")]
    grey = look.seen.astype(np.float32).mean(2, keepdims=True)
    grey = 0.55 * 255 * (grey - grey.min()) / max(1.0, np.ptp(grey))
    size, figures = len(grey), []
    places = [(look.place(joints), colour) for joints, colour in ((truth, TRUTH), (pose, COLOURS["right"]))
              if joints is not None]
    for index, (joint, heat) in enumerate(zip(skeleton.joints, look.maps)):
        rows, columns = (np.arange(size) * length // size for length in heat.shape)
        heat = np.sqrt(heat[rows][:, columns][..., None])  # so that a second, lower peak is seen as well
        image = (grey * (1 - heat) + np.array([255, 150, 20]) * heat).astype(np.uint8)
        figures.append(element("figure", picture(
            f"{title}: heatmap of {joint}, brightest {_where(heat)}", pictures.of(image), size,
            *(ring(joints[index], size, colour, 0.06) for joints, colour in places)), element("figcaption", joint)))
    return [paragraph("Bright where the network looks for the joint, each in square roots of shares of its peak; the "
                      "orange ring is the joint as it goes on."), element("div", *figures, class_="cards")]


def _whole(title, number, way, truth, pictures, skeleton):
    """What the network of a stage that looks at the person again sees, and its heatmaps."""
    look, agreement = way.refinements[number - 2].whole, way.refinements[number - 2].agreement
    if look is None:
        return [missing("None: no epoch of it was better on validation persons, and the pose is left as it is.")]
    size = len(look.seen)
    layers = [] if truth is None else [pose_layer(look.place(truth), skeleton, size, "truth")]
    figure = element("figure", picture(
        f"{title}: what stage {number} sees, with the pose that it is told", pictures.of(look.seen), size, *layers,
        pose_layer(look.place(way.poses[number - 2]), skeleton, size, "predicted")),
        element("figcaption", f"what stage {number} sees: a window round the pose so far, at {size} pixels, and that "
                              "pose, which it is told"))
    return [element("div", figure, class_="cards large"),
            *_heatmaps(title, look, way.poses[number - 1], truth, pictures, skeleton),
            *([paragraph(f"A joint that moved no further than {agreement:g} lengths of the pose so far has the middle "
                         "of both places.")] if agreement else []),
            details("Numbers", _moves(number, way, truth, skeleton))]


def _where(heat):
    """In words, in which ninth of a picture a map has its peak."""
    row, column = np.divmod(heat.argmax(), heat.shape[1])
    down = ("at the top", "in the middle", "at the bottom")[min(2, 3 * row // heat.shape[0])]
    across = ("left", "centre", "right")[min(2, 3 * column // heat.shape[1])]
    return f"{down}, {across}"


def _windows(title, number, way, truth, pictures, skeleton):
    """What each joint's network sees, and how far it moves the joint."""
    look, before, after = way.refinements[number - 2], way.poses[number - 2], way.poses[number - 1]
    figures = []
    for index, seen in look.windows.items():
        joint, size = skeleton.joints[index], len(seen)

        def place(point, centre=before[index], size=size):
            return (point - centre) * size / look.side + (size - 1) / 2  # crop pixels to those of the window

        moved, *away = _lengths(before[index], after[index], None if truth is None else truth[index], look.length)
        told = f"moved {moved}"
        if away and away[0] != "–":
            outside = np.abs(place(truth[index]) - (size - 1) / 2).max() > size / 2
            told += f", error {away[0]} → {away[1]}" + ("; the truth is outside" if outside else "")
        figures.append(element("figure", picture(
            f"{title}: stage {number}'s window of {joint}: {told}", pictures.of(seen), size,
            None if truth is None else ring(place(truth[index]), size),
            arrow(place(before[index]), place(after[index]), size, COLOURS[skeleton.side([joint])])),
            element("figcaption", element("b", joint), f" {told}")))
    none = [name for index, name in enumerate(skeleton.joints) if index not in look.windows]
    return [paragraph(f"Windows of {look.side:.1f} crop pixels round the joints as they came, of a pose with a length "
                      f"of {look.length:.1f}; the arrow is the displacement that is added. Numbers are in such "
                      "lengths" + (f"; no network for {', '.join(none)}." if none else ".")),
            element("div", *figures, class_="cards"), details("Numbers", _moves(number, way, truth, skeleton))]


def _moves(number, way, truth, skeleton):
    """A table of how far each joint was moved by a stage, and its errors."""
    length = way.refinements[number - 2].length
    unit = "torso diameters of the pose so far" if skeleton.diameter else "half extents of the pose so far"
    rows = [[joint, *_lengths(*(None if joints is None else joints[index] for joints in
                                (way.poses[number - 2], way.poses[number - 1], truth)), length)]
            for index, joint in enumerate(skeleton.joints)]
    return table(f"Stage {number}'s displacements, {unit}",
                 ["joint", "moved", *(["error before", "error after"] if truth is not None else [])], rows)


def _lengths(before, after, truth, length):
    """How far a joint was moved, and its errors before and after where the truth is given, as texts in a length."""
    pairs = [(before, after), *([] if truth is None else [(before, truth), (after, truth)])]
    found = [float(np.linalg.norm(a - b)) / length for a, b in pairs]
    return ["–" if math.isnan(value) else f"{value:.2f}" for value in found]


def _pose_table(number, pose, sure, truth, skeleton, side):
    head = ["joint", "x", "y", *(["confidence"] if sure is not None else []),
            *(["error"] if truth is not None else [])]
    rows = [[joint, *(f"{value:.1f}" for value in pose[index]),
             *([f"{sure[index]:.2f}"] if sure is not None else []),
             *([cell(float(np.linalg.norm(pose[index] - truth[index])))] if truth is not None else [])]
            for index, joint in enumerate(skeleton.joints)]
    return table(f"Stage {number}'s joints, in pixels of the crop of {side}", head, rows)
