"""What a Python program gives and gets, with real arrays."""

import fractions
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import kinora
import numpy


def grey(n, width=160, height=90):
    return numpy.full((height, width, 3), n * 7 % 256, dtype=numpy.uint8)


def playlist(folder, rung="90p"):
    with open(os.path.join(folder, rung, "playlist.m3u8"), encoding="ascii") as file:
        return file.read()


def decoded(folder, rung="90p"):
    """Means of the decoded pictures, and their number, by ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-allowed_extensions", "ALL"]
    command += ["-i", os.path.join(folder, rung, "playlist.m3u8")]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"]
    samples = subprocess.run(command, check=True, capture_output=True).stdout
    return numpy.frombuffer(samples, dtype=numpy.uint8).reshape(-1, 90, 160, 3).mean((1, 2, 3))


class Folder(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.addCleanup(self.temporary.cleanup)

    def ladder(self, width=160, height=90, fps=25, **options):
        options = {"preset": "ultrafast", "encoder": "libx264", "segment": 1.0} | options
        return kinora.Ladder(self.folder, width, height, fps, **options)


class Streams(Folder):
    def test_a_stream_of_arrays(self):
        for container in ["ts", "cmaf"]:
            with self.ladder(container=container) as ladder:
                for n in range(60):
                    self.assertTrue(ladder.write_frame(grey(n)))
                self.assertEqual(ladder.frames, 60)
            self.assertEqual(ladder.report["duration_s"], 2.4)
            self.assertEqual(ladder.report["renditions"]["90p"]["segments"], 2)
            self.assertEqual(ladder.report["warnings"], [])
            text = playlist(self.folder)
            self.assertTrue(text.endswith("#EXT-X-ENDLIST\n"), text)
            means = decoded(self.folder)
            wanted = numpy.array([n * 7 % 256 for n in range(60)])
            self.assertEqual(len(means), 60)
            self.assertLess(numpy.abs(means - wanted).max(), 4)

    def test_every_layout(self):
        grey8 = numpy.full((90, 160), 100, dtype=numpy.uint8)
        half = numpy.full((45, 80), 128, dtype=numpy.uint8)
        ten = [numpy.full((90, 160), 400, dtype=numpy.uint16)]
        ten += [numpy.full((45, 80), 512, dtype=numpy.uint16)] * 2
        planar = numpy.concatenate([grey8.ravel(), half.ravel(), half.ravel()])
        rgb = grey(20)
        rows = [
            ("rgb24", rgb),
            ("rgb24", rgb[:, ::-1]),
            ("rgb24", numpy.asfortranarray(rgb)),
            ("rgb24", numpy.dstack([rgb, rgb])[:, :, :3]),
            ("rgb24", rgb.ravel()),
            ("rgb24", memoryview(rgb)),
            ("rgb24", rgb.tobytes()),
            ("rgba", numpy.dstack([rgb, rgb[:, :, :1]])),
            ("yuv420p", (grey8, half, half)),
            ("yuv420p", [grey8, half, half]),
            ("yuv420p", planar),
            ("yuv420p", planar.reshape(135, 160)),
            ("nv12", (grey8, numpy.full((45, 160), 128, dtype=numpy.uint8))),
            ("yuv420p10le", ten),
        ]
        for format, frame in rows:
            with self.ladder(format=format) as ladder:
                for _ in range(3):
                    ladder.write_frame(frame)
            means = decoded(self.folder)
            self.assertEqual(len(means), 3, format)
            self.assertLess(numpy.ptp(means), 2, format)
            self.assertTrue(60 < means[0] < 150, (format, means))

    def test_rates(self):
        rows = [(25, 25), (12.5, 12.5), ((30000, 1001), 29.97), (29.97, 29.97), (23.976, 23.976)]
        rows.append((fractions.Fraction(50, 2), 25))
        for fps, rate in rows:
            with self.ladder(fps=fps) as ladder:
                for n in range(10):
                    ladder.write_frame(grey(n))
            self.assertAlmostEqual(ladder.report["duration_s"], 10 / rate, places=3)

    def test_times_and_sound(self):
        with self.ladder(timed=True) as ladder:
            for n in range(30):
                ladder.write_frame(grey(n), pts=1000 + n / 10)
        self.assertAlmostEqual(ladder.report["duration_s"], 2.94, places=2)
        sound = os.path.join(self.folder, "sound.wav")
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=1", sound]
        subprocess.run(command, check=True)
        with self.ladder(audio=sound) as ladder:
            taken = [ladder.write_frame(grey(n)) for n in range(500)]
        self.assertTrue(taken[20] and not taken[-1])
        self.assertAlmostEqual(ladder.report["duration_s"], 1.0, delta=0.1)

    def test_parts_and_a_window(self):
        with self.ladder(part=0.4, window=10.0) as ladder:
            for n in range(60):
                ladder.write_frame(grey(n))
            # All of them may be waiting still: there need not be a playlist yet.
            path = os.path.join(self.folder, "90p", "playlist.m3u8")
            wait = time.monotonic() + 20
            while not os.path.exists(path) or "EXT-X-PART:" not in playlist(self.folder):
                self.assertLess(time.monotonic(), wait)
                time.sleep(0.01)

    def test_callbacks(self):
        segments, progress = [], []
        options = {"on_segment": segments.append, "on_progress": lambda *told: progress.append(told)}
        with self.ladder(**options) as ladder:
            for n in range(75):
                ladder.write_frame(grey(n))
        own = [s for s in segments if s["rendition"] == "90p"]
        self.assertEqual([s["index"] for s in own], [0, 1, 2])
        self.assertEqual([s["start_s"] for s in own], [0.0, 1.0, 2.0])
        for segment in own:
            path = os.path.join(self.folder, segment["file"])
            self.assertEqual(os.path.getsize(path), segment["bytes"])
        self.assertAlmostEqual(progress[-1][0], 3.0, places=2)


class Waiting(Folder):
    def test_other_threads_run_while_it_waits(self):
        # The callback cannot be called before this thread lets go of Python's lock, and the run
        # takes no more pictures before the callback returns.
        gate = threading.Event()
        ladder = self.ladder(on_segment=lambda _: gate.wait(20))
        given = []

        def give():
            for n in range(3000):
                ladder.write_frame(grey(n))
                given.append(n)

        thread = threading.Thread(target=give)
        thread.start()
        last = -1
        while last != len(given) or last < 25:
            last = len(given)
            time.sleep(1)
        self.assertLess(last, 2900, "it did not wait")
        gate.set()
        thread.join()
        self.assertEqual(ladder.finish()["duration_s"], 120.0)

    def test_what_is_dropped_ends(self):
        before = threading.active_count()
        ladder = self.ladder(on_progress=lambda *_: None)
        for n in range(40):
            ladder.write_frame(grey(n))
        del ladder
        gc.collect()
        self.assertEqual(threading.active_count(), before)
        names = []
        for thread in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{thread}/comm", encoding="ascii") as file:
                    names.append(file.read())
            except (FileNotFoundError, ProcessLookupError):
                # It ended since it was listed.
                pass
        self.assertFalse([name for name in names if name.startswith("ladder")], names)

    def test_a_block_that_raises_breaks_off(self):
        with self.assertRaises(KeyError):
            with self.ladder() as ladder:
                for n in range(60):
                    ladder.write_frame(grey(n))
                raise KeyError("mine")
        with self.assertRaisesRegex(RuntimeError, "not finished"):
            ladder.report
        with self.assertRaisesRegex(RuntimeError, "cancelled"):
            ladder.write_frame(grey(0))


class Errors(Folder):
    def test_frames_that_do_not_fit(self):
        ladder = self.ladder()
        ladder.write_frame(grey(0))
        rows = [
            (ValueError, r"shape \[90, 161, 3\]", numpy.zeros((90, 161, 3), numpy.uint8)),
            (ValueError, r"shape \[160, 90, 3\]", numpy.zeros((160, 90, 3), numpy.uint8)),
            (ValueError, r"shape \[90, 160, 4\]", numpy.zeros((90, 160, 4), numpy.uint8)),
            (ValueError, r"16 bit", numpy.zeros((90, 160, 3), numpy.uint16)),
            (TypeError, r"uint8 or uint16", numpy.zeros((90, 160, 3), numpy.float32)),
            (ValueError, r"2 planes where there are 1", [numpy.zeros(3, numpy.uint8)] * 2),
            (TypeError, r"int", 7),
            (TypeError, r"NoneType", None),
        ]
        for kind, text, frame in rows:
            with self.assertRaisesRegex(kind, text):
                ladder.write_frame(frame)
        with self.assertRaisesRegex(ValueError, "has a time"):
            ladder.write_frame(grey(1), pts=3.0)
        ladder.write_frame(grey(1))
        self.assertEqual(ladder.finish()["duration_s"], 0.08)
        with self.assertRaisesRegex(RuntimeError, "finished"):
            ladder.write_frame(grey(1))

    def test_arguments_that_cannot_be(self):
        rows = [
            ({"fps": 0}, "pictures per second"),
            ({"fps": -1}, "pictures per second"),
            ({"format": "rgb25"}, "no such pixel format"),
            ({"width": 0}, "no such picture size"),
            ({"container": "mov"}, "no container"),
        ]
        for options, text in rows:
            with self.assertRaisesRegex(ValueError, text):
                self.ladder(**options)
        ladder = self.ladder(segment=99.0)
        with self.assertRaisesRegex(ValueError, "segment duration out of range"):
            for n in range(100):
                ladder.write_frame(grey(n))

    def test_a_callback_that_raises(self):
        def broken(_):
            raise LookupError("broken")

        ladder = self.ladder(on_segment=broken)
        with self.assertRaisesRegex(LookupError, "broken"):
            for n in range(2000):
                ladder.write_frame(grey(n))
        ladder.cancel()

    def test_a_folder_that_cannot_be_written(self):
        path = os.path.join(self.folder, "file")
        open(path, "w", encoding="ascii").close()
        ladder = kinora.Ladder(path, 160, 90)
        with self.assertRaisesRegex(RuntimeError, "file"):
            for n in range(2000):
                ladder.write_frame(grey(n))


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    bad = len(result.failures) + len(result.errors)
    print(f"python: {result.testsRun - bad} passed, {bad} failed")
    sys.exit(bad > 0)
