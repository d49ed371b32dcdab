"""A run's process: makes `ocr_boxes` of a day on a cluster, from frames that are there."""

import json
import sys

from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from tests.pipeline import materialize_day


def main() -> None:
    """Takes its arguments as a JSON object."""
    asked = json.loads(sys.argv[1])
    result = materialize_day(
        asked["videos"],
        asked["data"],
        assets=[ocr_boxes],
        day=asked["day"],
        easyocr=EasyOCRResource(**asked["easyocr"]),
        compute=ComputeResource(engine="ray", address=asked["address"], **asked["compute"]),
    )
    (event,) = result.asset_materializations_for_node("ocr_boxes")
    metadata = {name: event.metadata[name].value for name in ("frames", "failed", "devices")}
    print("RESULT", json.dumps(metadata))


if __name__ == "__main__":
    main()
