from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.tables.box_columns import DTYPE, boxes_column, boxes_of

numbers = st.floats(-1e6, 1e6)
boxes = st.builds(
    TextBox,
    st.sampled_from(["rect", "quad"]),
    st.tuples(*[st.tuples(numbers, numbers)] * 4),
    st.floats(0, 1e9),
    st.none() | st.text(),
    st.none() | st.floats(0, 1),
)


@given(st.lists(st.none() | st.lists(boxes, max_size=5), max_size=6))
@settings(max_examples=60)
def test_boxes_survive_the_column(rows: list[list[TextBox] | None]) -> None:
    column = boxes_column(rows)
    assert column.dtype == DTYPE
    assert [None if row is None else boxes_of(row) for row in column.to_list()] == rows
