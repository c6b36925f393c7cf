"""Pictures as PNG files: skeletons on crops, PDJ curves, training curves. Each file is written whole or not at all."""
import math
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from .arrays import whole
from .looks import COLOURS, LOSSES, OUTLINE, SCORES, TRUTH, on_screen, score_title, segments
from .metrics import symmetric_joints

PAPER, INK = (45, 48, 54), (235, 235, 235)
LINES = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
MARKERS = "os^Dvp*X"

SMALLEST_TILE = 192  # pixels; smaller crops are enlarged so that lines stay crisp
SMOOTHING = 4        # tiles are drawn so many times larger and reduced, which smooths the lines
GAP, LINE_HEIGHT, FONT_SIZE = 6, 16, 12
LINE_WIDTHS = {"predicted": 3.2, "truth": 1.2}  # tile pixels, without the outline
DOT_RADII = {"predicted": 3.2, "truth": 1.8}
OUTLINE_WIDTH = 1.0
MOST_PANELS = 12               # of curves, where no groups of joints are named
LEGEND_COLUMNS = 7


def contact_sheet(path, images, skeleton, layers, captions=None, columns=8, called=("true pose", "predicted")):
    """Crops in rows, with skeletons over them, captions below each and a legend at the foot.

    images    (n, S, S, C) as `on_screen` takes them
    layers    list of (joints (n, J, 2) crop pixels, style), drawn in that order; NaN = missing.
              style "predicted": bold, coloured by the person's right, left and centre; "truth": thin and white
    captions  n strings, or None
    called    what the legend calls the styles "truth" and "predicted"
    """
    size = images.shape[1]
    tile = max(SMALLEST_TILE, size)
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    font = _font(FONT_SIZE)
    texts = [_wrapped(caption, font, tile) for caption in captions or [""] * len(images)]
    text_height = LINE_HEIGHT * max((len(lines) for lines in texts if lines != [""]), default=0)
    width, row_height = GAP + columns * (tile + GAP), tile + text_height + GAP
    legend = _legend({style for _, style in layers}, skeleton, width, font, *called)
    sheet = Image.new("RGB", (width, GAP + rows * row_height + legend.height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left, top = GAP + number % columns * (tile + GAP), GAP + number // columns * row_height
        large = Image.fromarray(on_screen(image)).resize((tile * SMOOTHING,) * 2, Image.Resampling.BICUBIC)
        for joints, style in layers:
            # crop pixels to those of the enlarged image, centres at integers in both
            _draw_skeleton(large, (joints[number] + 0.5) * (large.width / size) - 0.5, skeleton, style)
        sheet.paste(large.reduce(SMOOTHING), (left, top))
        for line, text in enumerate(lines):
            draw.text((left, top + tile + 1 + line * LINE_HEIGHT), text, INK, font)
    sheet.paste(legend, (0, sheet.height - legend.height))
    with whole(path) as temporary:
        sheet.save(temporary, format="PNG")


def pdj_curves(path, curves, thresholds, skeleton):
    """Detection rate against threshold: a panel for each joint group and one for all joints, a line for each label.
    Without groups pairs and single joints have panels, if there are few.

    curves      label -> (T, J) fractions, NaN = a joint that is never annotated
    thresholds  T fractions of the torso diameter; of a skeleton without it of the box
    """
    joints = range(len(skeleton.joints))
    panels = {name: [skeleton.index(joint) for joint in group] for name, group in skeleton.groups.items()}
    if not panels:
        panels = symmetric_joints(skeleton) or {name: (joint,) for joint, name in zip(joints, skeleton.joints)}
        panels = {name: list(group) for name, group in panels.items()} if len(panels) < MOST_PANELS else {}
    panels["mean of all joints"] = list(joints)
    figure, axes = _panels(len(panels), columns=min(4, len(panels)))
    for axis, (title, group) in zip(axes, panels.items(), strict=True):
        for label, colour, marker in zip(curves, cycle(LINES), cycle(MARKERS), strict=False):
            rates = np.ma.masked_invalid(np.asarray(curves[label])[:, group]).mean(1).filled(np.nan)
            axis.plot(thresholds, 100 * rates, color=colour, marker=marker, markersize=3.5, label=label)
        axis.set(title=title, xlim=(0, 1.02 * max(thresholds)), ylim=(0, 100),
                 xticks=np.linspace(0, max(thresholds), 6))
    for axis in axes:
        axis.set_xlabel(f"threshold, {'torso diameters' if skeleton.diameter else 'box sides'}")
        axis.set_ylabel("joints detected, %")
        axis.label_outer()
    _legend_below(figure, axes[0])
    _save(figure, path)


def reliability_curves(path, curves, errors):
    """Share right against confidence, with 95% intervals: a panel for all joints and one for each. Grey bars are how
    many joints have such a confidence, in shares of the fullest bin.

    curves  "edges" of B bins (B + 1,); panel's name -> "counts", "confidence", "right", "low" and "high" (B,),
            fractions; None or NaN = an empty bin, or one that no interval is known of
    errors  panel's name -> calibration error, percent
    """
    edges = np.asarray(curves["edges"])
    panels = {name: {key: np.array(values, float) for key, values in curve.items()}
              for name, curve in curves.items() if name != "edges"}
    figure, axes = _panels(len(panels), columns=min(5, len(panels)), width=2.3)
    for axis, (name, curve) in zip(axes, panels.items(), strict=True):
        axis.bar(100 * edges[:-1], 100 * curve["counts"] / max(1, curve["counts"].max()), 100 * np.diff(edges),
                 align="edge", color="0.88", label="joints")
        axis.plot((0, 100), (0, 100), color="0.5", linewidth=0.8, linestyle="--", label="calibrated")
        axis.vlines(100 * curve["confidence"], 100 * curve["low"], 100 * curve["high"], color=LINES[2], linewidth=1.2)
        axis.plot(100 * curve["confidence"], 100 * curve["right"], color=LINES[2], marker=MARKERS[0], markersize=3.5,
                  label="right, with 95% interval")
        axis.set_title(f"{'all joints' if name == 'all' else name}, error {errors[name]:.1f}", fontsize=10)
        axis.set(xlim=(0, 100), ylim=(0, 102), xticks=(0, 50, 100), yticks=(0, 50, 100))
    for axis in axes:
        axis.set_xlabel("confidence, %")
        axis.set_ylabel("joints right, %")
        axis.label_outer()
    _legend_below(figure, axes[0])
    _save(figure, path)


def gains(path, panels):
    """Points gained, with their intervals, a line for each part; what leaves out 0 is in colour.

    panels  title -> part -> {"gain", "low", "high"}, NaN = none
    """
    height = 0.9 + 0.19 * max(map(len, panels.values()))
    figure, axes = _panels(len(panels), columns=len(panels), width=3.8, height=height)
    for axis, (title, parts) in zip(axes, panels.items(), strict=True):
        axis.axvline(0, color="0.4", linewidth=0.8)
        for line, found in enumerate(parts.values()):
            colour = LINES[3] if found["low"] > 0 else LINES[1] if found["high"] < 0 else "0.45"
            axis.hlines(line, found["low"], found["high"], color=colour, linewidth=1.5)
            axis.plot(found["gain"], line, color=colour, marker=MARKERS[0], markersize=4)
        axis.set(yticks=range(len(parts)), yticklabels=list(parts), ylim=(len(parts) - 0.4, -0.6),
                 xlabel="points gained, with 95% interval")
        axis.set_title(title, fontsize=10)
    _save(figure, path)


def score_by_minutes(path, lines):
    """PCK@0.2 against minutes of training, on a logarithmic axis, a line a machine.

    lines  machine -> list of (minutes, percent, what the minutes were spent on), in the minutes' order
    """
    figure, (axis,) = _panels(1, columns=1, width=5.6, height=3.2)
    for (machine, points), colour, marker in zip(lines.items(), LINES[2:], MARKERS):
        minutes, scores, _ = zip(*points)
        axis.plot(minutes, scores, color=colour, marker=marker, markersize=4, label=machine)
        for minute, score, text in points:
            axis.annotate(f"{score:.1f}\n{text}", (minute, score), xytext=(4, -6), textcoords="offset points",
                          fontsize=8, va="top")
    minutes, scores, _ = zip(*sorted(point for points in lines.values() for point in points))
    axis.set_xscale("log")
    axis.set(xlabel="minutes of training", ylabel="PCK@0.2 on LSP's test images, %", xticks=minutes,
             xticklabels=[f"{value:.0f}" for value in minutes], xlim=(0.85 * minutes[0], 1.9 * minutes[-1]),
             ylim=(min(scores) - 3, max(scores) + 1))
    axis.minorticks_off()
    axis.legend(loc="lower right", fontsize=8)
    _save(figure, path)


def training_curves(path, rows, skeleton=None):
    """Loss and scores after each epoch, from the rows of a training log.

    rows      list of dictionaries, at least one: "epoch", "loss" and further numbers. Drawn are the losses, whatever
              begins with "pdj", "pcp" or "pck_box" (percent), and the learning rate where it changes. Where the rows
              have "joint", as the cascade's do, there is a line for each, with its gains of "pdj" and "pdj_area" (or
              "pck_box" and "pck_box_area") over "pdj_before" and "area_before" for scores
    skeleton  whose joints those are; needed for no other rows
    """
    if "joint" in rows[0]:
        _draw_joints(path, rows, skeleton)
    else:
        _draw_epochs(path, rows)


def _draw_epochs(path, rows):
    epochs = _column(rows, "epoch")
    scores = [key for key in rows[0] if key.startswith(tuple(SCORES))]
    rates = _column(rows, "learning_rate")
    # what is minimised may count heatmaps beside the coordinates: not one axis for both
    panels = [("training, as minimised", "loss", ["loss"]),
              ("validation, coordinates alone", "loss", list(LOSSES)),
              ("validation scores", "%", scores)]
    if np.ptp(rates) > 0:
        panels.append(("learning rate", "step size", ["learning_rate"]))
    panels = [(title, unit, [key for key in keys if key in rows[0]]) for title, unit, keys in panels]
    panels = [panel for panel in panels if any(np.isfinite(_column(rows, key)).any() for key in panel[2])]
    figure, axes = _panels(len(panels), columns=2, width=4.4, height=3.2)
    for axis, (title, unit, keys) in zip(axes, panels, strict=True):
        for key, colour, marker in zip(keys, cycle(LINES[1:]), cycle(MARKERS), strict=False):
            label = score_title(key) if key in scores else LOSSES.get(key)
            axis.plot(epochs, _column(rows, key), color=colour, marker=marker, markersize=3.5,
                      markevery=max(1, len(rows) // 20), label=label)
        _epoch_axis(axis, title, unit, epochs)
        if len(keys) > 1:
            axis.legend(fontsize=8)
    _save(figure, path)


def _draw_joints(path, rows, skeleton):
    names = list(dict.fromkeys(row["joint"] for row in rows))
    score, column = ("PDJ", "pdj") if skeleton.diameter else ("PCK", "pck_box")
    panels = [("training", "loss", "loss", None)]
    panels += [(title, "points gained", after, before) for title, after, before in
               ((f"validation {SCORES[column]}, over the stage before", column, f"{column}_before"),
                (f"validation {score}, mean of {'0.05 ... 0.5' if skeleton.diameter else '0.025 ... 0.25'}, likewise",
                 f"{column}_area", "area_before")) if all(before in row and after in row for row in rows)]
    legend = math.ceil(len(names) / LEGEND_COLUMNS)  # lines
    figure, axes = _panels(len(panels), columns=len(panels), width=4.4, height=3.6 + 0.2 * max(0, legend - 2))
    looks = _looks(skeleton)
    for axis, (title, unit, after, before) in zip(axes, panels, strict=True):
        if before:
            axis.axhline(0, color="0.4", linewidth=0.8)
        for name in names:
            own = [row for row in rows if row["joint"] == name]
            values = _column(own, after) - (_column(own, before) if before else 0)
            axis.plot(_column(own, "epoch"), values, markersize=3.5, label=name, **looks.get(name, {"color": LINES[0]}))
        _epoch_axis(axis, title, unit, _column(rows, "epoch"))
    _legend_below(figure, axes[0])
    _save(figure, path)


def _looks(skeleton):
    """Joint -> how its line is drawn: a pair in one colour, the left one dashed; markers where colours run out."""
    of_left = {left: right for right, left in skeleton.pairs}
    first = dict.fromkeys(of_left.get(name, name) for name in skeleton.joints)
    style = {name: (LINES[number % len(LINES)], number // len(LINES) * 2) for number, name in enumerate(first)}
    looks = {}
    for name in skeleton.joints:
        colour, marker = style[of_left.get(name, name)]
        left = name in of_left
        looks[name] = {"color": colour, "linestyle": "--" if left else "-",
                       "marker": MARKERS[(marker + left) % len(MARKERS)]}
    return looks


def _panels(count, columns, width=2.7, height=2.5):
    """A figure and its first `count` axes in rows of `columns`; sizes in inches."""
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(columns * width, rows * height), dpi=150, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.tick_params(which="both", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def _epoch_axis(axis, title, unit, epochs):
    axis.set_title(title, fontsize=10)
    axis.set(xlabel="epoch", ylabel=unit)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    drawn = drawn[np.isfinite(drawn)]
    if unit != "%" and len(drawn) and drawn.min() > 0 and drawn.max() > 10 * drawn.min():
        axis.set_yscale("log")


def _legend_below(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(LEGEND_COLUMNS, len(labels)), frameon=False,
                  fontsize=9)


def _save(figure, path):
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _column(rows, key):
    return np.array([row.get(key, math.nan) for row in rows], float)


def _draw_skeleton(image, joints, skeleton, style):
    """Draw one pose on an image; joints (J, 2) in its pixels, NaN = missing."""
    joints = np.clip(joints, -4 * image.width, 5 * image.width)  # a wild prediction is out of sight all the same
    draw = ImageDraw.Draw(image)
    line, dot, border = (SMOOTHING * length for length in (LINE_WIDTHS[style], DOT_RADII[style], OUTLINE_WIDTH))
    lines = [(ends, _colour(skeleton.side(names), style)) for ends, names in segments(joints, skeleton)
             if np.isfinite(ends).all()]
    dots = [(joint, _colour(skeleton.side([name]), style)) for joint, name in zip(joints, skeleton.joints, strict=True)
            if np.isfinite(joint).all()]
    for grow, outline in ((border, True), (0, False)):  # all outlines first, lest they cut the joins
        for ends, colour in lines:
            draw.line([tuple(end) for end in ends.tolist()], OUTLINE if outline else colour, round(line + 2 * grow))
        for (x, y), colour in dots:
            reach = dot + grow
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), OUTLINE if outline else colour)


def _colour(side, style):
    return TRUTH if style == "truth" else COLOURS[side]


def _legend(styles, skeleton, width, font, truth="true pose", predicted="predicted"):
    """The sheet's foot, `width` pixels wide, as an image: lines as of limbs, or dots where there are joints alone."""
    entries = [(truth, TRUTH, "truth")] if "truth" in styles else []
    if "predicted" in styles and not skeleton.pairs:
        entries += [(predicted, COLOURS["centre"], "predicted")] if entries else []
    elif "predicted" in styles:
        first = f"{predicted}: person's right" if entries else "person's right"
        entries += [(first, COLOURS["right"], "predicted"), ("person's left", COLOURS["left"], "predicted")]
        parts = [[name] for name in skeleton.joints] + [[*one, *other] for one, other in skeleton.limbs.values()]
        if "centre" in map(skeleton.side, parts):
            entries += [("centre", COLOURS["centre"], "predicted")]
    sample, x, y, placed = 26 if skeleton.limbs else 2 * max(DOT_RADII.values()) + 4, GAP, GAP, []
    for text, colour, style in entries:
        needed = sample + 6 + math.ceil(font.getlength(text))
        if x > GAP and x + needed > width - GAP:
            x, y = GAP, y + LINE_HEIGHT
        placed.append((x, y, text, colour, style))
        x += needed + 18
    image = Image.new("RGB", (width, y + LINE_HEIGHT + GAP if placed else 1), PAPER)
    large = image.resize((image.width * SMOOTHING, image.height * SMOOTHING))
    draw = ImageDraw.Draw(large)
    for x, y, _, colour, style in placed:
        middle = y + LINE_HEIGHT / 2
        for grow, ink in ((OUTLINE_WIDTH, OUTLINE), (0, colour)):
            if skeleton.limbs:
                draw.line([(SMOOTHING * end, SMOOTHING * middle) for end in (x, x + sample)], ink,
                          round(SMOOTHING * (LINE_WIDTHS[style] + 2 * grow)))
            else:
                reach = DOT_RADII[style] + grow
                draw.ellipse([SMOOTHING * edge for edge in (x + sample / 2 - reach, middle - reach,
                                                            x + sample / 2 + reach, middle + reach)], ink)
    image = large.reduce(SMOOTHING)
    draw = ImageDraw.Draw(image)
    for x, y, text, _, _ in placed:
        draw.text((x + sample + 6, y + LINE_HEIGHT / 2), text, INK, font, anchor="lm")
    return image


def _wrapped(text, font, width):
    """Lines of words that fit a width in pixels; a word that is too long ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            word = word.rstrip("…")[:-1] + "…"
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width else [*lines, word]
    return lines


def _font(size):
    # matplotlib's own font: the same on every system, and with more letters than Pillow's
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
