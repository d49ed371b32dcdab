import dagster as dg
import pytest

from ocr_assets.runs import _terminal


def test_a_message_is_one_line_of_text_whatever_names_are_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @dg.op
    def video_manifest(context: dg.OpExecutionContext) -> None:
        context.log.info("a\nocr_boxes         done\x1b[2J\u202e.mp4")

    @dg.job(logger_defs={"console": dg.LoggerDefinition(_terminal)})
    def daily_job() -> None:
        video_manifest()

    assert daily_job.execute_in_process(run_config={"loggers": {"console": {}}}).success
    assert capsys.readouterr().err == (
        "video_manifest    a\\nocr_boxes         done\\x1b[2J\\u202e.mp4\n"
    )
