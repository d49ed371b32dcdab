"""The project's resource with a pool of readers that the test has made."""

from ocr_assets.ocr.reader_pool import ReaderPool
from ocr_assets.resources.easyocr import EasyOCRResource

POOLS: dict[str, ReaderPool] = {}


class OwnPool(EasyOCRResource):
    """The pool is found by its name, because Dagster makes resources anew from their config."""

    bench: str

    def pool(self) -> ReaderPool:
        return POOLS[self.bench]
