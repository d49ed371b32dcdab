from ocr_assets.progress import Progress


def test_progress_says_how_many_are_done_and_how_long_the_rest_takes() -> None:
    said: list[str] = []
    progress = Progress(said.append, "frames", total=4, interval_seconds=0)
    progress.advance()
    progress.advance()
    assert said[1].startswith("2 of 4 frames, ")
    assert said[1].endswith(" s left")


def test_progress_keeps_quiet_between_reports_and_does_without_a_total() -> None:
    said: list[str] = []
    quiet = Progress(said.append, "frames", interval_seconds=3600)
    quiet.advance()
    assert said == []
    Progress(said.append, "samples", interval_seconds=0).advance()
    assert said[0].startswith("1 samples, ")
