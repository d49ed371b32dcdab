"""JSON as text that can be stored."""

import json


def json_text(value: object) -> str:
    r"""A value as JSON on one line, readable where UTF-8 can hold it and escaped where it cannot.

    JSON may hold lone surrogates (`"\ud800"`), which are no characters and so have no UTF-8.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
