"""Charts as SVG that a page holds: lines, intervals, stacked bars. Their colours are the page's, light or dark; lines
differ in dashes and marks as well. The numbers behind each stand in a table beside it."""
import math

import numpy as np

from .report_html import Html, element

WIDTH, HEIGHT = 400, 270                         # of a chart with axes; text is 13 high
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 42        # what surrounds the plot
SERIES = 6                                       # looks that report.css has: s0, that of the mean pose, and s1 ...
ROW, GAP = 15, 7                                 # a bar or interval; between groups of them
LONGEST = 20                                     # letters of a name beside a bar
LETTER = 7.2                                     # width of one, on the average


def lines(label, series, x_title, y_title, y_range=None, log=False, counts=False):
    """Curves over numbers.

    label    what the chart shows, in words
    series   list of (look, xs, ys); look: number of the CSS class; NaN interrupts a line
    y_range  (low, high); None = that of the numbers
    log      logarithmic y, where no number is 0 or less
    counts   whether x are whole numbers
    Returns  Html; "" where there is no number
    """
    series = [(look, np.asarray(xs, float), np.asarray(ys, float)) for look, xs, ys in series]
    xs, ys = (np.concatenate([each[place] for each in series] or [[]]) for place in (1, 2))
    shown = np.isfinite(xs) & np.isfinite(ys)
    if not shown.any():
        return Html("")
    log = log and ys[shown].min() > 0
    x_low, x_high = xs[shown].min(), xs[shown].max()
    y_low, y_high = y_range or (ys[shown].min(), ys[shown].max())
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    if log:
        y_ticks = _powers(y_low, y_high)
        y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])
    else:
        y_ticks = ticks(y_low, y_high)
        y_low, y_high = (y_low, y_high) if y_range else (min(y_low, y_ticks[0]), max(y_high, y_ticks[-1]))
    x_ticks = [tick for tick in ticks(x_low, x_high) if x_low <= tick <= x_high and (tick % 1 == 0 or not counts)]
    scale = math.log if log else float
    y_low, y_span = scale(y_low), max(scale(y_high) - scale(y_low), 1e-12)

    def x_of(value):
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y_of(value):
        return HEIGHT - BOTTOM - (scale(value) - y_low) / y_span * (HEIGHT - TOP - BOTTOM)

    drawn = [_line(LEFT, y_of(tick), WIDTH - RIGHT, y_of(tick), "grid") for tick in y_ticks]
    drawn += [_text(LEFT - 6, y_of(tick) + 4, _number(tick), "end") for tick in y_ticks]
    drawn += [_text(x_of(tick), HEIGHT - BOTTOM + 17, _number(tick), "middle") for tick in x_ticks]
    drawn += [_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"),
              _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title, "middle"),
              _text(12, (TOP + HEIGHT - BOTTOM) / 2, y_title, "middle", turned=True)]
    for look, own_xs, own_ys in series:
        known = np.isfinite(own_xs) & np.isfinite(own_ys)
        places = [(x_of(x), y_of(y)) if there else None for x, y, there in zip(own_xs, own_ys, known)]
        path = "".join(("L" if before else "M") + f"{place[0]:.1f} {place[1]:.1f}"
                       for before, place in zip([None, *places], places) if place)
        drawn.append(element("path", d=path, class_=f"series s{look % SERIES}"))
        every = max(1, len(places) // 15)
        drawn += [mark(*place, look) for place in places[::every] if place and look]
    return _chart(label, WIDTH, HEIGHT, drawn)


def intervals(label, rows, looks, x_title):
    """A line for each part, with a mark and the interval round it for each series.

    rows   list of (part, [(value, low, high) of each series]), NaN = none
    looks  of the series
    """
    found = np.array([row for _, row in rows], float)
    if not np.isfinite(found[..., 0]).any():
        return Html("")
    rows = [(_short(part), row) for part, row in rows]
    left = LETTER * max(len(part) for part, _ in rows) + 10
    high = min(100, ticks(0, max(np.nanmax(found), 1))[-1])
    group = GAP + ROW * len(looks)
    height = TOP + group * len(rows) + BOTTOM

    def x_of(value):
        return left + min(value, high) / high * (WIDTH - left - RIGHT)

    drawn = [part for tick in ticks(0, high) for part in (
        _line(x_of(tick), TOP, x_of(tick), height - BOTTOM, "grid"),
        _text(x_of(tick), height - BOTTOM + 16, _number(tick), "middle"))]
    drawn.append(_text((left + WIDTH - RIGHT) / 2, height - 5, x_title, "middle"))
    for number, (part, row) in enumerate(rows):
        top = TOP + number * group + GAP / 2
        drawn.append(_text(left - 8, top + ROW * len(looks) / 2 + 4, part, "end"))
        for line, ((value, low, upper), look) in enumerate(zip(row, looks, strict=True)):
            y = top + ROW * (line + 0.5)
            if math.isfinite(low) and math.isfinite(upper):
                drawn.append(_line(x_of(low), y, x_of(upper), y, f"series whisker s{look % SERIES}"))
            if math.isfinite(value):
                drawn.append(mark(x_of(value), y, look))
    return _chart(label, WIDTH, height, drawn)


def shares(label, rows, kinds):
    """Bars that are divided into kinds.

    rows   list of (title, fractions of each kind, which sum to 1 or are NaN)
    kinds  CSS classes
    """
    rows = [(_short(title), parts) for title, parts in rows]
    left = LETTER * max(len(title) for title, _ in rows) + 10
    height, drawn = TOP + (ROW + 3) * len(rows) + 24, []
    for number, (title, parts) in enumerate(rows):
        y, x = TOP + number * (ROW + 3), left
        drawn.append(_text(left - 8, y + ROW - 3, title, "end"))
        for share, kind in zip(parts, kinds, strict=True):
            if not share > 0:
                continue
            width = share * (WIDTH - left - RIGHT)
            drawn.append(element("rect", x=f"{x:.1f}", y=y, width=f"{max(width - 1, 0.5):.1f}", height=ROW,
                                 class_=kind))
            x += width
    for tick in (0, 25, 50, 75, 100):
        drawn.append(_text(left + tick / 100 * (WIDTH - left - RIGHT), height - 6, f"{tick}%" if tick == 100 else tick,
                           "end" if tick == 100 else "middle"))
    return _chart(label, WIDTH, height, drawn)


def reliability(label, curve, edges):
    """Share right against confidence, percent, with intervals; the diagonal; bars of how many joints have such a one.

    curve  "counts", "confidence", "right", "low", "high" of B bins, fractions, None or NaN = none
    edges  B + 1 of them
    """
    curve = {key: np.array(curve[key], float) for key in ("counts", "confidence", "right", "low", "high")}
    size, left, bottom, top = 230, 34, 38, 8
    side = size - left - 16

    def x_of(value):
        return left + value * side

    def y_of(value):
        return top + (1 - value) * side

    height = top + side + bottom
    drawn = []
    for count, low, high in zip(curve["counts"], edges, edges[1:]):
        tall = count / max(1, np.nanmax(curve["counts"])) * side
        drawn.append(element("rect", x=f"{x_of(low) + 1:.1f}", y=f"{top + side - tall:.1f}", height=f"{tall:.1f}",
                             width=f"{(high - low) * side - 2:.1f}", class_="bar"))
    drawn += [_line(x_of(0), y_of(0), x_of(1), y_of(1), "axis"),
              _line(left, top + side, left + side, top + side, "axis")]
    for tick in (0, 0.5, 1):
        drawn += [_text(x_of(tick), top + side + 16, f"{100 * tick:.0f}", "middle"),
                  _text(left - 6, y_of(tick) + 5, f"{100 * tick:.0f}", "end")]
    drawn.append(_text(left + side / 2, height - 5, "confidence, %", "middle"))
    path = ""
    for x, y, low, high in zip(*(curve[key] for key in ("confidence", "right", "low", "high"))):
        if math.isfinite(x) and math.isfinite(y):
            path += ("L" if path else "M") + f"{x_of(x):.1f} {y_of(y):.1f}"
            if math.isfinite(low) and math.isfinite(high):
                drawn.append(_line(x_of(x), y_of(low), x_of(x), y_of(high), "series whisker s1"))
            drawn.append(mark(x_of(x), y_of(y), 1))
    drawn.append(element("path", d=path, class_="series s1"))
    return _chart(label, size, height, drawn)


def legend(entries):
    """What the lines mean: list of (look, name)."""
    return element("ul", *(element("li", element(
        "svg", _line(0, 7, 32, 7, f"series s{look % SERIES}"), mark(16, 7, look), viewBox="0 0 32 14",
        aria_hidden="true"), name) for look, name in entries), class_="legend")


def kinds_legend(entries):
    """What the parts of bars mean: list of (CSS class, name)."""
    return element("ul", *(element("li", element("svg", element("rect", width=32, height=14, class_=kind),
                                                 viewBox="0 0 32 14", aria_hidden="true"), name)
                           for kind, name in entries), class_="legend")


def mark(x, y, look):
    """A small sign, another for each look."""
    sign = {0: "M-3-3h6v6h-6z", 1: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", 2: "M-4-4h8v8h-8z", 3: "M0-5l5 9h-10z",
            4: "M0-5l5 5l-5 5l-5-5z", 5: "M0 5l5-9h-10z"}[look % SERIES]
    return element("path", d=sign, transform=f"translate({x:.1f} {y:.1f})", class_=f"mark s{look % SERIES}")


def ticks(low, high, most=6):
    """Round numbers from low or below it to high or above it, at most `most` steps of 1, 2 or 5 times a power of 10."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _powers(low, high):
    """Ticks of a logarithmic axis: 1, 2 and 5 times powers of 10, or where that is too many the powers alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [factor * 10.0 ** power for power in range(first, last + 1) for factor in (1, 2, 5)]
    fine = [tick for tick in fine if low / 2.5 < tick < high * 2.5]
    return fine if len(fine) <= 7 else [10.0 ** power for power in range(first, last + 1)]


def _short(name):
    """A name with its middle left out where it is too long for a chart; the tables have it whole."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def _number(value):
    return f"{value:g}"


def _line(x1, y1, x2, y2, kind):
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _text(x, y, text, anchor, turned=False):
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor,
                   transform=f"rotate(-90 {x:.1f} {y:.1f})" if turned else None)


def _chart(label, width, height, drawn):
    return element("svg", *drawn, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, class_="chart")
