"""What is wrong with a storage is said in a sentence, with what to do, and without secrets."""

import json
import pickle
import re
import traceback
from collections.abc import Callable

import polars as pl
import pytest

from ocr_assets import settings
from ocr_assets.assets.failures import describe, may_be_retried, without_answers
from ocr_assets.configured import configured
from ocr_assets.object_storage import StorageOptionsError
from ocr_assets.object_storage_errors import ObjectStorageError
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.tables.folder import folder_at
from ocr_assets.tables.partitioned import PartitionedTable
from tests.s3_server import KEY_ID, MARKERS, Answer, Faults, S3Server
from tests.tables.test_partitioned import MONDAY, Numbers, numbers, rows, write

QUICK = {"max_retries": "1", "retry_timeout": "2s", "timeout": "1s", "connect_timeout": "1s"}
# Servers repeat what they were sent, above all when they do not like its signature.
REPEATED = "@authorization@ @x-amz-security-token@"

ANSWERS = {
    Answer("", 403, "AccessDenied", REPEATED): (
        "may not be used with these credentials (403 AccessDenied)",
        "give them the rights that README lists",
        False,
    ),
    Answer("", 403, "SignatureDoesNotMatch", REPEATED): (
        "does not take the credentials (403 SignatureDoesNotMatch)",
        "put valid ones into the environment (AWS_ACCESS_KEY_ID",
        False,
    ),
    Answer("", 400, "ExpiredToken", REPEATED): (
        "does not take the credentials (400 ExpiredToken)",
        "put valid ones into the environment",
        False,
    ),
    Answer("", 404, "NoSuchBucket", REPEATED): (
        "is in a bucket that does not exist (404 NoSuchBucket)",
        "create the bucket, or correct its name",
        False,
    ),
    Answer("", 301, "PermanentRedirect", REPEATED): (
        "is in another region or at another endpoint",
        "set aws_region",
        False,
    ),
    Answer("", 503, "SlowDown", REPEATED): (
        "answers with an error (503 SlowDown)",
        "look at the storage and the network",
        True,
    ),
    Answer("", 500, "InternalError", REPEATED): (
        "answers with an error (500 InternalError)",
        "look at the storage and the network",
        True,
    ),
    Answer("", 400, "RequestTimeout", REPEATED): (
        "answers with an error (400 RequestTimeout)",
        "look at the storage and the network",
        True,
    ),
}


def _read(table: PartitionedTable) -> object:
    with table.reading(MONDAY):
        return table.scan(MONDAY).collect()


WORK: dict[str, Callable[[PartitionedTable], object]] = {
    "write": lambda table: write(table, MONDAY, 1),
    "read": _read,
    "list": lambda table: table.folder.entries("date=2026-01-05"),
    "note": lambda table: table.folder.read("note"),
    "put": lambda table: table.replace(MONDAY).__enter__()._place.write(0, rows(1)),
    "remove": lambda table: table.folder.remove(["a", "b"]),
}


def quick(s3: S3Server, **others: str) -> PartitionedTable:
    return PartitionedTable(
        folder_at("s3://tables/x", {**s3.options, **QUICK, **others}), "numbers", Numbers
    )


def raised(table: PartitionedTable, work: Callable[[PartitionedTable], object]) -> Exception:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - what it says is looked at
        work(table)
    return caught.value


def assert_is_told(
    error: Exception, what: str, to_do: str, *, retried: bool, place: str = "s3://tables/x"
) -> None:
    said = describe(error)
    assert said.startswith(place), said
    assert what in said
    assert f". What to do: {to_do}" in said
    assert "\n" not in said
    assert may_be_retried(error) == retried
    everything = said + "".join(traceback.format_exception(error)) + repr(error)
    assert not any(marker in everything for marker in (*MARKERS, KEY_ID))
    assert isinstance(error, ObjectStorageError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.code)
def test_what_a_storage_answers_is_told_and_no_more(
    s3: S3Server, answer: Answer, work: str
) -> None:
    what, to_do, retried = ANSWERS[answer]
    table = quick(s3)
    write(table, MONDAY, 1)
    with s3.answering(answer):
        error = raised(table, WORK[work])
    assert_is_told(error, what, to_do, retried=retried)
    assert numbers(table, MONDAY) == [1]


@pytest.mark.parametrize("work", ["write", "read", "list", "note"])
def test_a_storage_that_is_not_reached_is_told_and_tried_again(s3: S3Server, work: str) -> None:
    refused = quick(s3, aws_endpoint_url="http://127.0.0.1:9")
    unknown = quick(s3, aws_endpoint_url="http://nowhere.invalid")
    to_do = "look at the storage and the network"
    for table in (refused, unknown):
        error = raised(table, WORK[work])
        assert_is_told(error, "cannot be reached", to_do, retried=True)
    with s3.failing(Faults(share=1, kinds=("stall",), in_a_row=99, stall_seconds=2)):
        error = raised(quick(s3), WORK[work])
    assert_is_told(error, "does not answer in time", to_do, retried=True)


def test_a_listing_that_is_cut_short_is_asked_for_again(s3: S3Server) -> None:
    table = quick(s3)
    write(table, MONDAY, 1)
    listed = WORK["list"](table)
    with s3.failing(Faults(share=1, kinds=("cut",), in_a_row=2)):
        assert WORK["list"](table) == listed
    with s3.failing(Faults(share=1, kinds=("cut",), in_a_row=99)):
        error = raised(table, WORK["list"])
    assert_is_told(error, "answers in part only", "look at the storage", retried=True)


@pytest.mark.parametrize("prefix", ["latest/redirects", "refused/timed out", "sts.resolve/oauth2"])
def test_what_places_are_called_says_nothing_of_what_is_wrong(prefix: str) -> None:
    url = f"http://lists.example.org:9000/tables/{prefix}/part.parquet"
    said = (
        f"Generic S3 error: Error performing GET {url.replace(' ', '%20')} in 2s, after 1 retries: "
        "Server returned non-2xx status code: 503 Service Unavailable: "
        "<Error><Code>SlowDown</Code></Error>"
    )
    assert "answers with an error (503 SlowDown)" in describe(OSError(said))
    assert may_be_retried(OSError(said))


@pytest.mark.parametrize("work", ["write", "read", "list", "note"])
def test_without_credentials_it_is_said_where_they_belong(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    # Where a host's or a pod's role would be found.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    table = PartitionedTable(
        folder_at(f"s3://tables/without-{work}", {**s3.options, **QUICK}), "numbers", Numbers
    )
    error = raised(table, WORK[work])
    assert_is_told(
        error,
        "cannot be asked: no credentials were found",
        "put valid ones into the environment",
        retried=False,
        place=f"s3://tables/without-{work}",
    )


def test_what_aws_says_where_there_are_no_credentials_is_told_in_the_same_words() -> None:
    said = (
        "Operation not supported\n \x1b[31m↳\x1b[0m an error occurred while loading "
        "credentials\n \x1b[31m↳\x1b[0m failed to load IMDS session token\n"
    )
    assert "no credentials were found" in describe(OSError(said))
    assert not may_be_retried(OSError(said))


def test_what_polars_says_outside_of_our_own_reading_is_cleared_as_well(s3: S3Server) -> None:
    table = quick(s3)
    write(table, MONDAY, 1)
    scan = table.scan(MONDAY)
    with (
        s3.answering(Answer("", 403, "SignatureDoesNotMatch", REPEATED)),
        pytest.raises(PermissionError) as caught,
    ):
        scan.select(pl.len()).collect()
    assert MARKERS[1] in str(caught.value)  # so that there is something to be cleared
    try:
        try:
            raise caught.value
        except PermissionError as error:
            raise RuntimeError("a step failed") from error
    except RuntimeError as error:
        cleared = without_answers(error)
    everything = "".join(traceback.format_exception(cleared)) + describe(caught.value)
    assert "does not take the credentials" in everything
    assert not any(marker in everything for marker in (*MARKERS, KEY_ID))


@pytest.mark.parametrize(
    "options",
    [
        {"aws_secret_access_key": "marker"},
        {"AWS_SESSION_TOKEN": "marker"},
        {"azure_storage_sas_key": "marker"},
        {"aws_endpoint_url": "http://user:marker@127.0.0.1"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_with_secrets_are_refused_without_repeating_them(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = options
    said = []
    with pytest.raises(ValueError, match=re.escape(name)) as caught:
        Tables(root="s3://tables/x", storage_options=options)
    said.append(str(caught.value))
    monkeypatch.setenv("OCR_ASSETS_TABLES_STORAGE_OPTIONS", json.dumps(options))
    with pytest.raises(settings.SettingError, match=re.escape(name)) as caught:
        configured(Tables, "tables")
    said.append(str(caught.value))
    monkeypatch.setenv("OCR_ASSETS_TABLES_STORAGE_OPTIONS", json.dumps(options)[:-1])
    with pytest.raises(settings.SettingError, match="STORAGE_OPTIONS is not JSON") as caught:
        configured(Tables, "tables")
    said.append("".join(traceback.format_exception(caught.value)))
    assert not any("marker" in text for text in said)


def test_an_option_that_there_is_not_is_told_of_with_the_resource_that_has_it() -> None:
    wrong = {"aws_regoin": "us-east-1"}
    video_source = VideoSource(root="s3://tables/x", storage_options=wrong)
    work: dict[str, Callable[[], object]] = {
        "tables": lambda: folder_at("s3://tables/x", wrong).entries("x"),
        "video_source": lambda: video_source.samples(MONDAY),
    }
    for resource, look in work.items():
        with pytest.raises(StorageOptionsError, match="aws_regoin") as caught:
            look()
        said = describe(caught.value)
        assert f"with storage_options of the resource {resource}: " in said
        assert "What to do: correct root or storage_options of that resource" in said
        assert "\n" not in said
    assert "aws_regoin" in str(video_source.why_not_there())


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("retry_timeout", "soon", "a number of seconds like 30s"),
        ("aws_timeout", "30", "a number of seconds like 30s"),
        ("max_retries", "many", "a whole number"),
        ("MAX_RETRIES", "-1", "a whole number"),
        ("aws_allow_http", "yes", "true or false"),
        ("AWS_SKIP_SIGNATURE", "1", "true or false"),
    ],
)
@pytest.mark.parametrize("resource", [Tables, VideoSource])
def test_options_that_are_no_numbers_and_no_switches_are_refused_at_the_door(
    resource: type[Tables | VideoSource], name: str, value: str, what: str
) -> None:
    with pytest.raises(
        ValueError, match=f"{name} in storage_options of .* is '{value}', not {what}"
    ):
        resource(root="s3://tables/x", storage_options={name: value})


@pytest.mark.parametrize("root", ["nothing://tables/x", "https://user:marker@example.com/x?sig=y"])
@pytest.mark.parametrize("resource", [Tables, VideoSource])
def test_a_storage_of_another_kind_is_refused(
    resource: type[Tables | VideoSource], root: str
) -> None:
    with pytest.raises(ValueError, match="neither a folder nor in an object storage") as caught:
        resource(root=root)
    assert "marker" not in str(caught.value)


def test_what_lets_one_in_is_not_repeated_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for root in ("s3://user:marker@tables/x", "s3://tables/x?sig=marker", "ab://u:marker@tables/x"):
        for kind, name in ((Tables, "tables"), (VideoSource, "video_source")):
            monkeypatch.setenv(f"OCR_ASSETS_{name.upper()}_ROOT", root)
            with pytest.raises(settings.SettingError, match=f"{name.upper()}_ROOT=") as caught:
                configured(kind, name)
            everything = "".join(traceback.format_exception(caught.value))
            assert "marker" not in everything


@pytest.mark.parametrize(
    "root",
    ["s3://user:marker@tables/x", "s3://tables/x?sig=marker", "s3://tables/a b", "s3:///x"],
)
def test_places_that_cannot_be_addressed_are_refused(root: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix") as caught:
        Tables(root=root)
    assert "marker" not in str(caught.value)
