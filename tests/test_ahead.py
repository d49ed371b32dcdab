import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from ocr_assets.ahead import ahead


def test_results_come_in_order_and_items_are_taken_only_as_needed() -> None:
    taken = []

    def items() -> count:
        for number in count():
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as executor:
        results = ahead(executor, lambda number: number * number, items(), most=3)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        assert taken == list(range(8))
        results.close()


def test_what_work_raises_is_raised_in_its_turn() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    with ThreadPoolExecutor(2) as executor:
        results = ahead(executor, work, range(10), most=2)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)


def test_what_was_not_begun_is_not_done_for_somebody_who_has_left() -> None:
    done = []
    held = threading.Event()

    def work(number: int) -> int:
        if number:
            held.wait()
        done.append(number)
        return number

    with ThreadPoolExecutor(1) as executor:
        results = ahead(executor, work, range(5), most=4)
        assert next(results) == 0
        results.close()
        held.set()
    assert set(done) <= {0, 1}


def test_of_nothing_there_are_no_results() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert list(ahead(executor, abs, [], most=1)) == []
