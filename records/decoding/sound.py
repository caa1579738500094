"""A film's sound, copied packet by packet by the process that may die (records.decoding.child), and never decoded.

It is kept in a file of its own: for each packet a head (_HEAD), and its bytes. Times are on the clock of the film's
pictures, which begin at 0, in ticks of TICK seconds; sound may begin before them. What a container says of the streams
is told by a NUT, which takes every codec, of one packet that holds nothing.
"""

import io
import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import IO, Any, BinaryIO, NamedTuple

import av
import av.error

from anchorface.records.decoding.child import decoder
from anchorface.records.decoding.film import File
from anchorface.records.decoding.inside import Inside
from anchorface.records.errors import DAMAGE, PhotoError
from anchorface.records.films import FORMATS, NO_PROTOCOL, Clock, FilmLimits

AHEAD = PIECE = 2**20
"""Bytes of the film that are read at once, and about as many of its sound that are handed over at once."""
TICK = Fraction(1, 10_000_000)
_HEAD = struct.Struct("<B?qqqI")
"""Stream, whether it stands alone, presentation and decoding time, duration, bytes."""
_NUMBERS = itertools.count()


class Packet(NamedTuple):
    """Some coded sound of a stream; times in TICKs."""

    stream: int
    key: bool
    shown: int
    decoded: int
    duration: int
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A film's sound. head: a NUT that says what its streams are. codecs: theirs. file: its packets."""

    head: bytes
    codecs: tuple[str, ...]
    file: IO[bytes]

    def packets(self) -> Iterator[Packet]:
        """All packets, in the order in which they are decoded."""
        self.file.seek(0)
        while head := self.file.read(_HEAD.size):
            stream, key, shown, decoded, duration, size = _HEAD.unpack(head)
            yield Packet(stream, key, shown, decoded, duration, self.file.read(size))


def copy_sound(film: BinaryIO, uri: str, into: IO[bytes], begins: float, limits: FilmLimits) -> Sound | None:
    """A film's sound in a file.

    Args:
        film: opened for reading at any place in it. uri: the name for errors. into: an empty file, to write to and to
            read from. begins: when its pictures begin on its clock, in seconds (records.films.Look).

    Returns:
        None where it has none.

    Raises:
        PhotoError: it cannot be read.
    """
    name, size = f"sound {next(_NUMBERS)}", film.seek(0, os.SEEK_END)
    said = {"film": name, "size": size, "limits": asdict(limits), "begins": begins}
    told = decoder().ask(f"{__name__}:open_sound", said, uri, file=film)
    if not told.said["codecs"]:
        return None
    while True:
        answer = decoder().ask(f"{__name__}:next_sound", {"film": name}, uri, file=film)
        into.write(answer.content)
        if answer.said["end"]:
            return Sound(head=told.content, codecs=tuple(told.said["codecs"]), file=into)


def open_sound(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: open a film of `size` bytes for its sound; what its streams are."""
    clock = Clock(io.BufferedReader(File(inside, said["size"]), AHEAD), said["name"], FilmLimits(**said["limits"]))
    head = io.BytesIO()
    try:
        film = av.open(clock, "r", options={"format_whitelist": FORMATS, "protocol_whitelist": NO_PROTOCOL})
        streams = film.streams.audio
        codecs = [one.codec_context.name for one in streams]
        if streams:
            with av.open(head, "w", format="nut") as copy:
                first, *_ = [copy.add_stream_from_template(one, opaque=True) for one in streams]
                nothing = av.Packet(b"\0")
                nothing.stream, nothing.pts, nothing.dts = first, 0, 0
                copy.mux(nothing)
            inside.kept[said["film"]] = film, clock, film.demux(list(streams)), Fraction(said["begins"])
    except (av.error.FFmpegError, *DAMAGE) as error:
        raise PhotoError("sound not read", said["name"], str(error)) from error
    inside.answer({"codecs": codecs}, head.getvalue())


def next_sound(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: about PIECE bytes of sound."""
    if said["film"] not in inside.kept:
        raise PhotoError("sound not read", said["name"], "the process that read it ended")
    film, clock, packets, begins = inside.kept[said["film"]]
    piece = bytearray()
    numbers = {one.index: number for number, one in enumerate(film.streams.audio)}
    try:
        for packet in packets:
            clock.moved()
            inside.go_on()
            if packet.dts is None or not packet.size:
                continue
            shown = packet.dts if packet.pts is None else packet.pts
            times = [round((time * packet.time_base - begins) / TICK) for time in (shown, packet.dts)]
            duration = round((packet.duration or 0) * packet.time_base / TICK)
            piece += _HEAD.pack(numbers[packet.stream_index], packet.is_keyframe, *times, duration, packet.size)
            piece += bytes(packet)
            if len(piece) >= PIECE:
                inside.answer({"end": False}, bytes(piece))
                return
        film.close()
    except (av.error.FFmpegError, *DAMAGE) as error:
        raise PhotoError("sound not read", said["name"], str(error)) from error
    del inside.kept[said["film"]]
    inside.answer({"end": True}, bytes(piece))
