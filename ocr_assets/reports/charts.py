"""The report's charts: as specifications that a page draws, and as PNG.

Blue and vermilion of Okabe and Ito's palette tell kept from dropped to those who are colour-blind,
too; cividis is even to all.
"""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ocr_assets.coverage import FilterRule
from ocr_assets.reports.ratio_bins import bin_edges
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE
from ocr_assets.text_places import EDGES

if TYPE_CHECKING:
    from altair import FacetChart, HConcatChart, LayerChart

    Chart = LayerChart | FacetChart | HConcatChart

COLOURS_OF_VERDICTS = {KEEP: "#0072B2", DROP: "#D55E00", QUARANTINE: "#595959"}
COLOURS = 64
LEAST_SHARE = 0.01  # that the heat map's colours reach to
Width = int | Literal["container"]
Spec = dict[str, Any]


def bins(counts: Sequence[int]) -> list[dict[str, float]]:
    """The histogram's bars.

    Args:
        counts: Videos in each bin of `bin_edges`.
    """
    edges = bin_edges(len(counts)).tolist()
    return [
        {"begin": begin, "end": end, "videos": count}
        for begin, end, count in zip(edges, edges[1:], counts, strict=False)
    ]


def histogram_chart(counts: Sequence[int], rule: FilterRule, width: Width = "container") -> "Chart":
    """How many videos have which ratio, with the thresholds on it.

    The parameters `low` and `high` are the thresholds, the data set `bins` the bars: whoever shows
    the chart can set them.
    """
    import altair as alt

    low, high = (
        alt.param(name=name, value=min(bound, 1e9))
        for name, bound in (("low", rule.min_area_ratio), ("high", rule.max_area_ratio))
    )
    axis = alt.Axis(values=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1], format="~g")
    x = alt.X("begin:Q", title=rule.metric, axis=axis)
    x = x.scale(alt.Scale(type="sqrt", domain=[0, 1], nice=False, clamp=True))
    bars = (
        alt.Chart(alt.InlineData(values=bins(counts), name="bins"))
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            x=x,
            x2="end:Q",
            y2=alt.datum(0),
            # Where there are no videos, the axis still begins at 0.
            y=alt.Y(
                "videos:Q",
                title="videos",
                scale=alt.Scale(type="symlog", domain=alt.DomainUnionWith(unionWith=[0, 1])),
            ).axis(alt.Axis(values=[0, *(10**power for power in range(8))], format="~s")),
            color=alt.condition(
                "datum.begin > high || datum.end < low",
                alt.value(COLOURS_OF_VERDICTS[DROP]),
                alt.value(COLOURS_OF_VERDICTS[KEEP]),
            ),
            tooltip=[
                alt.Tooltip("begin:Q", title="from", format=".4~f"),
                alt.Tooltip("end:Q", title="to", format=".4~f"),
                alt.Tooltip("videos:Q", format=","),
            ],
        )
    )
    rules = [
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_rule(strokeWidth=3, color="black", strokeDash=dash)
        .encode(x=alt.XDatum(alt.ExprRef(expr=name), type="quantitative"))
        for name, dash in (("low", [6, 4]), ("high", [1, 0]))
    ]
    return (
        alt.layer(bars, *rules)
        .add_params(low, high)
        .properties(width=width, height=216, description="Histogram with thresholds")
    )


def heat_map_chart(shares: NDArray[np.float64], width: Width = "container") -> "Chart":
    """Where on the frame text is, with the borders of the zones.

    Args:
        shares: What `heat_map` gives.
        width: In pixels.
    """
    import altair as alt

    rows, columns = shares.shape
    cells = [
        {
            "left": column / columns,
            "right": (column + 1) / columns,
            "top": row / rows,
            "bottom": (row + 1) / rows,
            "share": round(float(share), 5),
        }
        for (row, column), share in np.ndenumerate(shares)
    ]
    axis = alt.Axis(labels=False, ticks=False, title=None, grid=False)
    across = alt.Scale(domain=[0, 1], nice=False)
    down = alt.Scale(domain=[1, 0], nice=False)
    colours = alt.Scale(scheme="cividis", domain=[0, max(float(shares.max()), LEAST_SHARE)])
    legend = alt.Legend(format=".1%", orient="right", gradientLength=160, tickCount=4)
    places = (
        alt.Chart(alt.InlineData(values=cells))
        # Edges of their own colour, or the background would shine through between them.
        .mark_rect(stroke=alt.ExprRef("scale('color', datum.share)"))
        .encode(
            x=alt.X("left:Q", scale=across, axis=axis),
            x2="right:Q",
            y=alt.Y("top:Q", scale=down, axis=axis),
            y2="bottom:Q",
            color=alt.Color("share:Q", title="frames with text").scale(colours).legend(legend),
            tooltip=[alt.Tooltip("share:Q", title="frames with text", format=".2%")],
        )
    )
    begin, last = EDGES[1:-1]
    lines = [
        {"x": x, "x2": x2, "y": y, "y2": y2}
        for x, y, x2, y2 in (
            (0, last, 1, last),
            (begin, begin, begin, 1),
            (last, begin, last, 1),
            (begin, 0, begin, begin),
            (last, 0, last, begin),
            (0, begin, 1, begin),
        )
    ]
    borders = (
        alt.Chart(alt.InlineData(values=lines))
        .mark_rule(color="white", strokeDash=[3, 3])
        .encode(x=alt.X("x:Q", scale=across), x2="x2", y=alt.Y("y:Q", scale=down), y2="y2")
    )
    return alt.layer(places, borders).properties(
        width=width, height=216, description="Where on the frame text is"
    )


def vega(chart: "Chart") -> Spec:
    """A chart as what Vega draws."""
    import vl_convert

    spec: Spec = vl_convert.vegalite_to_vega(chart.to_dict())
    return spec


def png(chart: "Chart") -> bytes:
    """A chart as a picture of few colours, some tens of KB."""
    import vl_convert

    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict(), scale=1)))
    picture = io.BytesIO()
    drawn.convert("RGB").quantize(COLOURS).save(picture, "png", optimize=True)
    return picture.getvalue()


def markdown_picture(chart: "Chart", said: str) -> str:
    """A chart as a picture within Markdown.

    Args:
        chart: The chart.
        said: What it shows, for those who do not see it.
    """
    return f"![{said}](data:image/png;base64,{base64.b64encode(png(chart)).decode()})"


def overview_chart(counts: Sequence[int], rule: FilterRule, shares: NDArray[np.float64]) -> "Chart":
    """Both charts side by side."""
    import altair as alt

    chart: Chart = alt.hconcat(histogram_chart(counts, rule, 400), heat_map_chart(shares, 384))
    return chart
