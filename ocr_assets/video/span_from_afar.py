"""The span of a video that is far away, from little of it."""

from fractions import Fraction

from ocr_assets.video.container import OpenVideo, Span

# Where a container does not say how long it is: later than any end.
LATER = 2**40


def span_from_afar(video: OpenVideo) -> Span | None:
    """The span that `span_of_packets` would tell, from the index or from both ends.

    Returns:
        None if they do not tell it for certain. The read position has moved in any case.
    """
    rate = video.stream.average_rate or video.stream.guessed_rate
    if video.stream.time_base is None or not rate:
        return None
    if video.container.format.name == "avi":
        return _span_of_index(video, video.stream.time_base, rate)
    if video.container.format.name == "matroska,webm":
        return _span_of_ends(video, video.stream.time_base, rate)
    return None


def _span_of_index(video: OpenVideo, time_base: Fraction, rate: Fraction) -> Span | None:
    """AVI's index has every frame; it is believed if it reaches as far as the header says.

    With B-frames its times are not those of the pictures, and the file is read from its start
    anyway.
    """
    stream = video.stream
    entries = [entry for entry in stream.index_entries if entry.size > 0]
    if not entries or stream.codec_context.has_b_frames or stream.duration is None:
        return None
    start = min(entry.timestamp for entry in entries)
    end = max(entry.timestamp for entry in entries) + round(1 / (rate * time_base))
    is_whole = end == (stream.start_time or 0) + stream.duration
    if not is_whole or max(entry.pos + entry.size for entry in entries) > video.container.size:
        return None
    return _span(start, end, len(entries), time_base, is_counted=True)


def _span_of_ends(video: OpenVideo, time_base: Fraction, rate: Fraction) -> Span | None:
    """Of Matroska, with the number of frames told from their rate.

    No picture is shown before the first key frame's pictures or after the last one's. The index
    leads to the last key frame; where there is none FFmpeg reads the file to its end.
    """
    import av.error

    stream, container = video.stream, video.container
    starts: list[int] = []
    key_frames = 0
    for packet in container.demux(stream):
        key_frames += packet.is_keyframe
        if packet.pts is not None and packet.size:
            starts.append(packet.pts)
        if key_frames > 1:
            break
    stated = container.duration
    target = LATER if stated is None else int(stated / 1_000_000 / time_base) + 1
    try:
        container.seek(target, stream=stream)
    except av.error.FFmpegError:
        return None
    frame_duration = round(1 / (rate * time_base))
    ends: list[int] = []
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size:
            continue
        if not ends and not packet.is_keyframe:
            return None  # there may be others after it that come before it
        ends.append(packet.pts + (packet.duration or frame_duration))
    if not starts or not ends:
        return None
    start, end = min(starts), max(ends)
    count = max(round((end - start) * time_base * rate), 1)
    return _span(start, end, count, time_base, is_counted=False)


def _span(start: int, end: int, count: int, time_base: Fraction, *, is_counted: bool) -> Span:
    rounding_pts = 1 if (end - start) / count > 2 else 0  # as in span_of_packets
    return Span(start, end - start, count, time_base, rounding_pts, is_counted)
