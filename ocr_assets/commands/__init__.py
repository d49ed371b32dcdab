"""The commands of `ocr-assets`, one file each: its arguments and what runs it."""
