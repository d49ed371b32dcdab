"""Which frames are shown of a day."""

from ocr_assets.compute.most_covered import MOST, CoveredFrame, MostCovered


def frame(video: str, ratio: float, index: int = 0) -> CoveredFrame:
    return CoveredFrame(ratio, video, index, "date=2026-01-31/part.parquet", ())


def test_one_frame_is_kept_of_each_of_the_most_covered_videos() -> None:
    kept = MostCovered()
    for number in range(2 * MOST):
        kept.consider([frame(str(number), number / 100), frame(str(number), number / 50, 1)])
    found = kept.in_order()
    assert [one.video_id for one in found] == [str(number) for number in range(2 * MOST - 1, 5, -1)]
    assert {one.frame_index for one in found} == {1}


def test_what_was_kept_of_parts_makes_what_is_kept_of_the_day() -> None:
    frames = [frame(str(number % 9), (number * 7 % 40) / 40, number) for number in range(40)]
    whole, parts = MostCovered(), MostCovered()
    whole.consider(frames)
    for start in range(0, 40, 8):
        part = MostCovered()
        part.consider(frames[start : start + 8])
        parts.consider(part.in_order())
    assert parts.in_order() == whole.in_order()
