// What the page reads of playlists, as rows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { master, rungName, sheets, tile } from '../../web/playlist.js';

const AT = 'http://kinora.lan/streams/gate/master.m3u8';
const INF = '#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720';
const SMALL = '#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360';
const IMAGES = '#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=25772,CODECS="jpeg",RESOLUTION=160x90,URI="thumbnails/playlist.m3u8"';
const rungs = [{ name: '720p', width: 1280, height: 720, bitRate: 2_500_000 }, { name: '360p', width: 640, height: 360, bitRate: 900_000 }];

test('a master playlist’s rungs and thumbnails', () => {
  for (const [lines, expected] of [
    [[SMALL, '360p/playlist.m3u8', INF, '720p/playlist.m3u8', IMAGES], { rungs, thumbnails: 'http://kinora.lan/streams/gate/thumbnails/playlist.m3u8' }],
    // Once for each group of sound.
    [[INF, '720p/playlist.m3u8', INF, '720p/playlist.m3u8', SMALL, '360p/playlist.m3u8'], { rungs, thumbnails: null }],
    [['#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1'], { rungs: [], thumbnails: null }],
    [[], { rungs: [], thumbnails: null }],
  ]) assert.deepEqual(master(['#EXTM3U', ...lines, ''].join('\n'), AT), expected, lines.join(' '));
});

test('a rung’s name', () => {
  for (const [address, height, expected] of [
    ['720p/playlist.m3u8', 720, '720p'], ['http://kinora.lan:7420/streams/k3v9/1080p-hevc/playlist.m3u8', 1080, '1080p-hevc'],
    ['/ipfs/bafy?filename=playlist.m3u8', 480, '480p'], ['', 360, '360p'],
  ]) assert.equal(rungName(address, height), expected, address);
});

const sheet = (name, duration, more = '') => `${more}#EXTINF:${duration},\n#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x2,DURATION=${duration / 4}\n${name}.jpg\n`;
const made = sheets(`#EXTM3U\n#EXT-X-IMAGES-ONLY\n${sheet('a', 4)}${sheet('b', 4)}${sheet('c', 2)}#EXT-X-ENDLIST\n`, 'http://kinora.lan/t/playlist.m3u8');
// A live source's window: the first sheet is not the stream's first, and something is missing.
const dated = sheets(`#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n${sheet('a', 4, '#EXT-X-PROGRAM-DATE-TIME:2026-11-20T20:00:00.500Z\n')}${sheet('b', 4)}`
  + sheet('c', 4, '#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T20:01:00.000Z\n'), 'http://kinora.lan/t/playlist.m3u8');
const when = (time) => Date.parse(`2026-11-20T${time}Z`);

test('the tile of a moment', () => {
  const at = (all, seconds, date) => {
    const found = tile(all, seconds, date);
    return found && `${found.url.split('/').pop()} ${found.x},${found.y}`;
  };
  for (const [all, seconds, date, expected] of [
    [made, 0, null, 'a.jpg 0,0'], [made, 1.2, null, 'a.jpg 160,0'], [made, 2, null, 'a.jpg 0,90'], [made, 3.99, null, 'a.jpg 160,90'],
    [made, 4, null, 'b.jpg 0,0'], [made, 9.9, null, 'c.jpg 160,90'], [made, 10.3, null, 'c.jpg 160,90'], [made, 30, null, null], [made, -1, null, null],
    // Dates of the stream mean nothing to sheets that have none.
    [made, 1.2, when('20:00:00'), 'a.jpg 160,0'],
    [dated, 900, when('20:00:00.500'), 'a.jpg 0,0'], [dated, 900, when('20:00:05.600'), 'b.jpg 160,0'], [dated, 0, when('20:01:03.000'), 'c.jpg 160,90'],
    [dated, 0, when('20:00:30.000'), null], [dated, 0, when('19:59:00.000'), null],
    [[], 0, null, null],
  ]) assert.equal(at(all, seconds, date), expected, `${seconds} ${date}`);
});

test('what is no sheet is left out', () => {
  const read = (text) => sheets(text, 'http://kinora.lan/t/playlist.m3u8').length;
  assert.equal(read('#EXTM3U\n#EXTINF:4,\na.jpg\n'), 0);
  assert.equal(read('#EXTM3U\n#EXTINF:4,\n#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x2,DURATION=0\na.jpg\n'), 0);
  assert.equal(read('<html>a proxy’s page</html>'), 0);
});
