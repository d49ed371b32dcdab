"""What `ocr-assets` exits with."""

SUCCEEDED = 0
FAILED = 1
BAD_ARGUMENTS = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
