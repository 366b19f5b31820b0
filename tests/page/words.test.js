// The words for what is in a file, as rows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as words from '../../web/words.js';
import { PROBE } from './canned.js';

const rows = (name, say, table) => test(name, () => {
  for (const [input, expected] of table) assert.equal(say(input), expected, JSON.stringify(input));
});

rows('bytes', words.bytes, [[0, '0 B'], [999, '999 B'], [1000, '1.0 kB'], [99_400, '99.4 kB'], [99_960, '100 kB'], [999_949, '1.0 MB'], [7_380_000, '7.4 MB'], [182.4e9, '182 GB'], [NaN, ''], [null, '']]);
rows('bit rates', words.bitRate, [[0, ''], [null, ''], [128_000, '128 kb/s'], [999_499, '999 kb/s'], [999_600, '1.0 Mb/s'], [4_210_000, '4.2 Mb/s'], [120e6, '120 Mb/s']]);
rows('clock', words.clock, [[0, '0:00'], [0.2, '0:01'], [7.4, '0:07'], [59.6, '1:00'], [725, '12:05'], [3723, '1:02:03'], [NaN, '']]);
rows('time left', words.left, [[NaN, ''], [-1, ''], [Infinity, ''], [0.4, 'almost done'], [12.2, '12 s left'], [59.4, '59 s left'], [90, '2 min left'], [3569, '59 min left'], [3900, '1 h 5 min left'], [7170, '2 h 0 min left']]);
rows('tracks', words.trackName, [[{ name: 'en', lang: 'en' }, 'English'], [{ name: 'Commentary', lang: 'en' }, 'Commentary'], [{ lang: 'de' }, 'German'], [{ lang: 'not a language' }, 'not a language'], [{}, 'unnamed']]);
rows('lengths', words.span, [[45, '45 s'], [60, '1 min'], [90, '90 s'], [600, '10 min'], [3600, '1 h'], [5400, '1 h 30 min'], [86_400, '24 h'], [0, ''], [null, '']]);
test('moments', () => {
  const now = new Date(2026, 10, 20, 15, 0);
  for (const [date, expected] of [[new Date(2026, 10, 20, 9, 5), '09:05'], [new Date(2026, 10, 19, 23, 30), '19 Nov, 23:30'], [null, '']]) assert.equal(words.moment(date?.toISOString(), now), expected);
});
rows('frame rates', words.frameRate, [['30000/1001', '29.97'], ['25/1', '25'], ['24000/1001', '23.98'], ['0/0', null], [null, null], ['x', null]]);
rows('names', words.fileName, [['été 夏.mp4', 'été 夏.mp4'], ['a\nb.mp4', 'a\uFFFDb.mp4'], ['\u202Egpj.exe', '\uFFFDgpj.exe']]);
rows('targets', words.target, [['hevc 2160p60', 'HEVC 2160p60'], ['h264 1080p30', 'H.264 1080p30']]);
rows('variants', words.variant, [
  [{ codec: 'h264', width: 1920, height: 1080, fps: '30000/1001' }, 'H.264, 1920 × 1080, 29.97 fps'],
  [{ codec: 'hevc', width: 1080, height: 1920, fps: 60 }, 'HEVC, 1080 × 1920, 60 fps'],
  [{ codec: 'h264' }, 'H.264'],
]);

const video = (over) => ({ ...PROBE, video: [{ ...PROBE.video[0], ...over }] });
const say = (probe) => words.facts(probe, 7_380_000).map(([label, text]) => `${label}: ${text}`).join(' | ');
rows('facts', say, [
  [PROBE, 'Video: HEVC Main 10, 10-bit, HDR10 | Picture: 1920 × 1080, 29.97 fps | Sound: AAC stereo, 48 kHz | File: MP4, 7.4 MB, 4.2 Mb/s'],
  [video({ rotation: 90 }), 'Video: HEVC Main 10, 10-bit, HDR10 | Picture: 1080 × 1920, 29.97 fps, turned 90° | Sound: AAC stereo, 48 kHz | File: MP4, 7.4 MB, 4.2 Mb/s'],
  [video({ codec: 'h264', profile: 'High', bit_depth: 8, hdr: null, field_order: 'tt', sample_aspect: '16/15', variable_rate: true }),
    'Video: H.264 High | Picture: 1920 × 1080, 29.97 fps (varies), interlaced, non-square pixels | Sound: AAC stereo, 48 kHz | File: MP4, 7.4 MB, 4.2 Mb/s'],
  [video({ codec: 'h264', profile: 'High 4:2:2', bit_depth: 8, chroma: '4:2:2', hdr: null, width: null, height: null, fps: null }),
    'Video: H.264 High 4:2:2, 4:2:2 | Picture: size unknown, rate unknown | Sound: AAC stereo, 48 kHz | File: MP4, 7.4 MB, 4.2 Mb/s'],
  [{ ...PROBE, audio: [] }, 'Video: HEVC Main 10, 10-bit, HDR10 | Picture: 1920 × 1080, 29.97 fps | Sound: none | File: MP4, 7.4 MB, 4.2 Mb/s'],
  [{ ...PROBE, container: 'matroska,webm', bit_rate: null, audio: [{ codec: 'eac3', channels: 6, channel_layout: '5.1(side)', sample_rate: 44100 }, { codec: 'aac' }] },
    'Video: HEVC Main 10, 10-bit, HDR10 | Picture: 1920 × 1080, 29.97 fps | Sound: Dolby Digital Plus 5.1, 44.1 kHz, and 1 more | File: Matroska, 7.4 MB, 4.2 Mb/s'],
  [{ ...PROBE, video: [{ codec: 'mjpeg', attached_picture: true, width: 600, height: 600 }], container: 'mp3' }, 'Video: none | Sound: AAC stereo, 48 kHz | File: MP3, 7.4 MB, 4.2 Mb/s'],
  [{ container: 'heif', picture: true }, 'Picture: HEIF | File: 7.4 MB'],
  [{ container: 'ico', picture: true, video: [{ codec: 'bmp', width: 16, height: 16 }] }, 'Picture: ICO, 16 × 16 | File: 7.4 MB'],
  [{ container: 'jpeg_pipe', picture: true, video: [{ codec: 'mjpeg', width: 640, height: 480, rotation: 90 }] }, 'Picture: JPEG, 480 × 640 | File: 7.4 MB'],
  [{ container: 'bmp_pipe', picture: true, video: [{ codec: 'bmp', width: 0, height: 0 }] }, 'Picture: BMP | File: 7.4 MB'],
]);
