import pytest

from ocr_assets.progress import Progress, rate_text, shown_by, time_text


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def work(progress: Progress, clock: Clock, units: int, seconds_each: float) -> None:
    for _ in range(units):
        clock.seconds += seconds_each
        progress.advance()


def test_progress_says_how_many_are_done_how_fast_and_how_long_the_rest_takes() -> None:
    said: list[str] = []
    clock = Clock()
    work(Progress(said.append, "frames", total=1200, clock=clock), clock, 16, 0.3125)
    assert said == ["16 of 1200 frames, 3.2/s, 6 min 10 s left"]


def test_without_a_total_there_is_no_telling_how_long_it_takes() -> None:
    said: list[str] = []
    clock = Clock()
    work(Progress(said.append, "samples", clock=clock), clock, 2, 5)
    assert said == ["1 samples, 0.2/s", "2 samples, 0.2/s"]


def test_reports_come_every_5_seconds_in_the_first_minute_and_every_30_later() -> None:
    said: list[str] = []
    clock = Clock()
    progress = Progress(said.append, "frames", clock=clock)
    work(progress, clock, 4, 1)
    assert said == []
    work(progress, clock, 56, 1)
    assert len(said) == 12
    work(progress, clock, 3600, 1)
    assert len(said) == 12 + 120


def test_the_time_left_follows_the_last_minute_and_the_rate_is_that_of_all_of_it() -> None:
    said: list[str] = []
    clock = Clock()
    progress = Progress(said.append, "frames", total=1000, clock=clock)
    work(progress, clock, 600, 0.125)  # eight a second
    work(progress, clock, 105, 1)  # then one
    assert progress.recent_rate == pytest.approx(1)
    assert progress.seconds_left == pytest.approx(295)
    assert said[-1] == "705 of 1000 frames, 1.0/s, 4 min 55 s left"
    assert progress.rate == pytest.approx(705 / 180)


def test_units_that_each_take_longer_than_a_minute_still_have_a_rate() -> None:
    said: list[str] = []
    clock = Clock()
    work(Progress(said.append, "videos", total=6, clock=clock), clock, 3, 120)
    assert said[-1] == "3 of 6 videos, 0.5/min, 6 min 0 s left"


def test_more_than_were_expected_leave_no_time() -> None:
    clock = Clock()
    progress = Progress(print, "frames", total=1, clock=clock)
    work(progress, clock, 2, 1)
    assert progress.sentence() == "2 of 1 frames, 1.0/s, 0 s left"


def test_what_a_display_shows_is_not_reported() -> None:
    class Log:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def begin(self, progress: Progress) -> None:
            self.seen.append(progress.sentence())

        def advance(self, progress: Progress) -> None:
            self.seen.append(progress.count_text())

    said: list[str] = []
    clock, log = Clock(), Log()
    with shown_by(log):
        work(Progress(said.append, "frames", total=2, clock=clock), clock, 2, 60)
    assert said == []
    assert log.seen == ["0 of 2 frames", "1 of 2 frames", "2 of 2 frames"]
    work(Progress(said.append, "frames", total=1, clock=clock), clock, 1, 60)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (340, "5 min 40 s"),
        (4800, "1 h 20 min"),
        (97_200, "1 d 3 h"),
    ],
)
def test_times_are_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_slow_rates_are_said_by_the_minute() -> None:
    assert [rate_text(rate) for rate in (250, 3.21, 0.1, 0.025)] == [
        "250/s",
        "3.2/s",
        "0.1/s",
        "1.5/min",
    ]
