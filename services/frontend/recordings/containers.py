"""Whether an audio file is complete. Decoders play what is there and keep silent about the rest."""

from __future__ import annotations

import struct

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MP3_KBITS = {
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def is_truncated(kind: str, data: bytes) -> bool:
    """Whether a file that was recognised as `kind` (WAV, OGG, MP3; others never) ends too early."""
    checks = {"WAV": _wav, "WAVEX": _wav, "OGG": _ogg, "MP3": _mp3}
    return checks[kind](data) if kind in checks else False


def _wav(data: bytes) -> bool:
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"data":
            # Writers to a pipe cannot know the size and leave a placeholder.
            return size not in _UNKNOWN_SIZES and position + 8 + size > len(data)
        position += 8 + size + size % 2
    return True


def _ogg(data: bytes) -> bool:
    start = data.rfind(b"OggS")
    if start < 0 or start + 27 > len(data):
        return True
    is_last_page = bool(data[start + 5] & 4)
    num_segments = data[start + 26]
    lacing = data[start + 27 : start + 27 + num_segments]
    end = start + 27 + num_segments + sum(lacing)
    return not is_last_page or len(lacing) < num_segments or end > len(data)


def _mp3(data: bytes) -> bool:
    """Walk the frames from the first one; a last one that is not all there was cut."""
    position = _after_id3(data)
    while position + 4 <= len(data):
        size = _mp3_frame_bytes(data, position)
        if size == 0:
            # A tag, padding or free-format audio follows: nothing more can be told.
            return False
        position += size
    return position > len(data)


def _after_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _mp3_frame_bytes(data: bytes, position: int) -> int:
    """Length of the layer III frame at a position; 0 when there is none."""
    head = int.from_bytes(data[position : position + 4])
    version, layer = head >> 19 & 3, head >> 17 & 3
    kbits_index, rate_index, padding = head >> 12 & 15, head >> 10 & 3, head >> 9 & 1
    if head >> 21 != 0x7FF or version == 1 or layer != 1 or rate_index == 3 or kbits_index in {0, 15}:
        return 0
    kbits = _MP3_KBITS[3 if version == 3 else 2, layer][kbits_index - 1]
    samples = 144 if version == 3 else 72
    return samples * kbits * 1000 // _MP3_RATES[version][rate_index] + padding
