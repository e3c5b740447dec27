"""Charts and picture grids as matplotlib figures, in one style, for reports and documentation.

Figures are made and saved without pyplot, so no window system and no global figure list is involved. Colours are
those of Okabe and Ito (2008), which colour-blind readers can distinguish. Strings of the user, such as class names,
are shown letter by letter: a dollar sign never starts a formula.
"""

from hvit.pictures.curves import QUANTITIES, Line, Rows, Unit, compare_curves, draw_curves, draw_lines, short_count
from hvit.pictures.image_grid import draw_image_grid
from hvit.pictures.predictions import draw_confusion, draw_points, draw_predictions, draw_reliability
from hvit.pictures.style import (
    BLACK,
    BLUE,
    DARK,
    FONT,
    GREEN,
    LIGHT,
    OKABE_ITO,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    TEXT_SIZE,
    VERMILLION,
    YELLOW,
    Theme,
    figure_to_png,
    figure_to_svg,
    plain_text,
)

__all__ = (
    "BLACK",
    "BLUE",
    "DARK",
    "FONT",
    "GREEN",
    "LIGHT",
    "OKABE_ITO",
    "ORANGE",
    "PURPLE",
    "QUANTITIES",
    "SKY_BLUE",
    "TEXT_SIZE",
    "VERMILLION",
    "YELLOW",
    "Line",
    "Rows",
    "Theme",
    "Unit",
    "compare_curves",
    "draw_confusion",
    "draw_curves",
    "draw_image_grid",
    "draw_lines",
    "draw_points",
    "draw_predictions",
    "draw_reliability",
    "figure_to_png",
    "figure_to_svg",
    "plain_text",
    "short_count",
)
