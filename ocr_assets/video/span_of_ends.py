"""The span of a video that need not be read whole for it."""

from ocr_assets.video.container import OpenVideo, Span

# Where a container does not say how long it is: later than any end.
LATER = 2**40


def span_of_ends(video: OpenVideo) -> Span | None:
    """The span that the packets of both ends show; the number of frames is told from their rate.

    Start and end are those of `span_of_packets`: no picture is shown before the first key frame's
    pictures or after the last one's. Matroska only, whose index leads to the last key frame; where
    it has none FFmpeg reads the file to its end.

    Returns:
        None if the ends do not tell. The read position has moved in any case.
    """
    import av.error

    stream, container = video.stream, video.container
    rate = stream.average_rate or stream.guessed_rate
    if container.format.name != "matroska,webm" or stream.time_base is None or not rate:
        return None
    starts: list[int] = []
    key_frames = 0
    for packet in container.demux(stream):
        key_frames += packet.is_keyframe
        if packet.pts is not None and packet.size:
            starts.append(packet.pts)
        if key_frames > 1:
            break
    stated = container.duration
    target = LATER if stated is None else int(stated / 1_000_000 / stream.time_base) + 1
    try:
        container.seek(target, stream=stream)
    except av.error.FFmpegError:
        return None
    frame_duration = round(1 / (rate * stream.time_base))
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
    count = max(round((end - start) * stream.time_base * rate), 1)
    rounding_pts = 1 if (end - start) / count > 2 else 0
    return Span(start, end - start, count, stream.time_base, rounding_pts, is_counted=False)
