"""A client that plays with GStreamer, seeks, stops and starts again as it is told.

usage: gstreamer.py FILE ELEMENT STEP...

ELEMENT decodes. The steps are done one after the other:

  frames=N      wait for N frames, or the end
  seek=NS       go to this time, exactly, whatever is in flight
  restart       stop and close the device, whatever is in flight, and start again
  end           wait for the end of the stream
  recover=NS    the same, but after an error go to this time and on from there
  hold          wait for a line on stdin

Each frame is a line with its time and the MD5 of its planes, which `checksumsink` prints. Between
them stand `seek` and `restart` exactly where the new frames begin, `zero NS`, the time of a frame
that seeks call 0 (there are containers that cut the beginning off), `end` and `error TEXT`.

Seeks are done with the same elements. For a restart the decoder is replaced by a new one: GStreamer
1.26's v4l2codecs elements remember the size of the last stream and negotiate no format when the
same size comes again after a stop, with every driver.

While the client stops or flushes, only errors of the decoder are told. Elements stop one after the
other: one whose source pad has stopped and whose sink pad has not refuses a sticky event, such as the
tags of a parser, and then the demuxer says "Internal data stream error", with every decoder.
"""

import os
import queue
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

# Seconds without any sign of life after which the pipeline hangs.
PATIENCE = 60


def say(line):
    # One write, so that lines of the sink are never in the middle of it.
    os.write(1, f"{line}\n".encode())


class Client:
    def __init__(self, file, element):
        self.pipeline = Gst.parse_launch(
            "filesrc name=file ! parsebin name=parser"
            "  videoconvert name=convert ! video/x-raw,format=I420 ! checksumsink name=sink hash=md5"
        )
        self.element = element
        self.decoder = None
        # Whether it stops or flushes.
        self.leaving = False
        # What happens, in its order: frame, seek, end, error.
        self.happened = queue.SimpleQueue()
        find = self.pipeline.get_by_name
        find("file").set_property("location", file)
        self.renew_decoder()
        # By hand, because a pipeline of text links once and not again after a restart.
        find("parser").connect("pad-added", self.link)
        kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.EVENT_DOWNSTREAM | Gst.PadProbeType.EVENT_FLUSH
        find("sink").get_static_pad("sink").add_probe(kinds, self.passes)
        self.pipeline.get_bus().set_sync_handler(self.hear)

    def renew_decoder(self):
        if self.decoder:
            self.decoder.set_state(Gst.State.NULL)
            self.pipeline.remove(self.decoder)
        self.decoder = Gst.ElementFactory.make(self.element, "decoder")
        if not self.decoder:
            sys.exit(f"there is no element {self.element}")
        self.pipeline.add(self.decoder)
        self.decoder.link(self.pipeline.get_by_name("convert"))

    def link(self, _parser, pad):
        caps = pad.get_current_caps() or pad.query_caps(None)
        if caps.get_structure(0).get_name().startswith("video/"):
            pad.link(self.decoder.get_static_pad("sink"))

    def passes(self, _pad, info):
        if info.type & Gst.PadProbeType.BUFFER:
            self.happened.put("frame")
        else:
            kind = info.get_event().type
            if kind == Gst.EventType.FLUSH_STOP:
                self.leaving = False
                say("seek")
                self.happened.put("seek")
            elif kind == Gst.EventType.SEGMENT:
                segment = info.get_event().parse_segment()
                say(f"zero {segment.start - segment.time}")
            elif kind == Gst.EventType.EOS:
                self.happened.put("end")
        return Gst.PadProbeReturn.OK

    def hear(self, _bus, message):
        if message.type == Gst.MessageType.ERROR and not (self.leaving and message.src != self.decoder):
            error, why = message.parse_error()
            # The last line of the details is the reason of who passes the error on.
            reason = why.splitlines()[-1] if why else ""
            say(f"error {message.src.get_name()}: {error.message} {reason}")
            self.happened.put("error")
        return Gst.BusSyncReply.DROP

    def next(self):
        try:
            return self.happened.get(timeout=PATIENCE)
        except queue.Empty:
            say(f"error hangs for {PATIENCE} s")
            # Without the clean-up, which would hang too.
            os._exit(3)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def frames(self, count):
        """Whether they came, or the end of the stream."""
        while count > 0:
            match self.next():
                case "error":
                    return False
                case "end":
                    say("end")
                    return True
                case "frame":
                    count -= 1
        return True

    def seek(self, time):
        self.leaving = True
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE
        if not self.pipeline.seek_simple(Gst.Format.TIME, flags, time):
            say(f"error no seek to {time}")
            return False
        # What happened before it counts no more.
        while self.next() != "seek":
            pass
        return True

    def restart(self):
        self.leaving = True
        self.pipeline.set_state(Gst.State.READY)
        self.leaving = False
        self.renew_decoder()
        while not self.happened.empty():
            self.happened.get()
        say("restart")
        self.start()
        return True

    def step(self, step):
        name, _, value = step.partition("=")
        match name:
            case "frames":
                return self.frames(int(value))
            case "seek":
                return self.seek(int(value))
            case "restart":
                return self.restart()
            case "end":
                return self.frames(float("inf"))
            case "recover":
                every = float("inf")
                return self.frames(every) or self.seek(int(value)) and self.frames(every)
            case "hold":
                sys.stdin.readline()
                return True
        raise ValueError(step)


def main(file, element, *steps):
    Gst.init(None)
    client = Client(file, element)
    client.start()
    well = all(client.step(step) for step in steps)
    client.leaving = True
    client.pipeline.set_state(Gst.State.NULL)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
