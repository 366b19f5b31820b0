// What `kinora ladder` makes, in players that are not ours: hls.js with both containers, and
// Shaka Player with the same CMAF segments through HLS and through DASH. A page of nothing but
// the player stands in for theirs. Each must play to the end without an error, list every track,
// show a caption, and find the thumbnails.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open } from './browser.js';
import { BIN } from './kinora.js';

const TYPES = {
  '.html': 'text/html', '.js': 'text/javascript', '.m3u8': 'application/vnd.apple.mpegurl', '.mpd': 'application/dash+xml',
  '.ts': 'video/mp2t', '.m4s': 'video/iso.segment', '.mp4': 'video/mp4', '.vtt': 'text/vtt', '.jpg': 'image/jpeg',
};
const require = createRequire(import.meta.url);
const LIBRARIES = {
  '/shaka.js': require.resolve('shaka-player/dist/shaka-player.compiled.js'),
  '/hls.js': new URL('../../web/node_modules/hls.js/dist/hls.min.js', import.meta.url),
};
const CAPTION = 'One caption';

let browser;
let folder;
let server;

before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-players-'));
  const captions = join(folder, 'captions.srt');
  await writeFile(captions, `1\n00:00:00,200 --> 00:00:05,500\n${CAPTION}\n`);
  const source = join(folder, 'source.mkv');
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=640x370:r=25:d=6', '-f', 'lavfi', '-i', 'sine=440:d=6',
    '-f', 'lavfi', '-i', 'sine=880:d=6', '-i', captions, '-map', '0', '-map', '1', '-map', '2', '-map', '3',
    '-c:v', 'mpeg4', '-q:v', '4', '-c:a', 'aac', '-c:s', 'srt',
    '-metadata:s:a:0', 'language=eng', '-metadata:s:a:1', 'language=deu', '-metadata:s:s:0', 'language=eng', source]);
  for (const container of ['ts', 'cmaf']) {
    execFileSync(BIN, ['ladder', source, '-o', join(folder, container), '--container', container, '--segment', '2', '--preset', 'ultrafast', '--encoder', 'libx264']);
  }
  server = createServer((request, response) => serve(request, response)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
});

after(async () => {
  await browser.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

async function serve(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>player</title><link rel="icon" href="data:,"><video muted></video><script src="/shaka.js"></script><script src="/hls.js"></script>');
    return;
  }
  try {
    let bytes = await readFile(LIBRARIES[pathname] ?? join(folder, normalize(pathname)));
    const headers = { 'content-type': TYPES[extname(pathname)] ?? 'application/octet-stream', 'accept-ranges': 'bytes' };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    if (range) {
      const [from, to] = [Number(range[1]), Math.min(Number(range[2] || bytes.length - 1), bytes.length - 1)];
      headers['content-range'] = `bytes ${from}-${to}/${bytes.length}`;
      bytes = bytes.subarray(from, to + 1);
    }
    response.writeHead(range ? 206 : 200, headers);
    response.end(bytes);
  } catch {
    response.writeHead(404);
    response.end();
  }
}

const player = (t) => open(t, browser, `http://127.0.0.1:${server.address().port}/`);

/** Plays from here to the end, faster than it is. */
async function playOut(page) {
  await page.evaluate(() => {
    const video = document.querySelector('video');
    video.playbackRate = 4;
    return video.play();
  });
  await page.waitForFunction(() => document.querySelector('video').ended, null, { polling: 'raf' });
}

/** The texts of all cues that are there. */
const cues = (page) => page.evaluate(() => [...document.querySelector('video').textTracks].flatMap((track) => [...(track.cues ?? [])].map((cue) => cue.text)));

for (const container of ['ts', 'cmaf']) {
  test(`hls.js plays ${container} with its groups`, async (t) => {
    const page = await player(t);
    await page.evaluate((url) => {
      const { Hls } = globalThis;
      globalThis.errors = [];
      // Chosen beforehand: a switch in the middle aborts what is being loaded or appends what is
      // there already, and hls.js says so.
      const hls = new Hls({ audioPreference: { lang: 'de' }, subtitlePreference: { lang: 'en' } });
      globalThis.hls = hls;
      hls.on(Hls.Events.MANIFEST_PARSED, () => { hls.loadLevel = 1; });
      hls.on(Hls.Events.ERROR, (_, { type, details }) => globalThis.errors.push(`${type} ${details}`));
      globalThis.ready = new Promise((resolve) => { hls.on(Hls.Events.MANIFEST_PARSED, resolve); });
      hls.loadSource(url);
      hls.attachMedia(document.querySelector('video'));
      return globalThis.ready;
    }, `/${container}/master.m3u8`);
    const tracks = await page.evaluate(() => ({
      levels: globalThis.hls.levels.map(({ width, height }) => `${width}x${height}`),
      audio: globalThis.hls.allAudioTracks.map(({ lang, name }) => `${lang} ${name}`),
      subtitles: globalThis.hls.allSubtitleTracks.map(({ lang }) => lang),
    }));
    assert.deepEqual(tracks, { levels: ['622x360', '640x370'], audio: ['en en', 'de de'], subtitles: ['en'] });
    await playOut(page);
    assert.equal(await page.evaluate(() => globalThis.hls.audioTracks[globalThis.hls.audioTrack].lang), 'de');
    assert.ok((await cues(page)).includes(CAPTION), JSON.stringify(await cues(page)));
    assert.ok(Math.abs(await page.evaluate(() => document.querySelector('video').duration) - 6) < 0.1);
    assert.deepEqual(await page.evaluate(() => globalThis.errors), []);
  });
}

for (const [name, manifest] of [['HLS in CMAF', '/cmaf/master.m3u8'], ['DASH', '/cmaf/manifest.mpd']]) {
  test(`Shaka Player plays ${name} with its groups`, async (t) => {
    const page = await player(t);
    await page.evaluate(async (url) => {
      const { shaka } = globalThis;
      shaka.polyfill.installAll();
      globalThis.errors = [];
      const shown = new shaka.Player();
      globalThis.shown = shown;
      await shown.attach(document.querySelector('video'));
      shown.addEventListener('error', ({ detail }) => globalThis.errors.push(`${detail.code} ${detail.data}`));
      await shown.load(url);
    }, manifest);
    const tracks = await page.evaluate(() => ({
      heights: [...new Set(globalThis.shown.getVariantTracks().map(({ height }) => height))].sort(),
      languages: [...new Set(globalThis.shown.getVariantTracks().map(({ language }) => language))].sort(),
      images: globalThis.shown.getImageTracks().length,
    }));
    assert.deepEqual(tracks, { heights: [360, 370], languages: ['de', 'en'], images: 1 });
    // The tile of the fourth second is the second of the second sheet.
    const tile = await page.evaluate(async () => {
      const [track] = globalThis.shown.getImageTracks();
      const found = await globalThis.shown.getThumbnails(track.id, 2.6);
      const { startTime, duration, positionX, positionY, width, height, uris } = found;
      const image = new Image();
      image.src = uris[0];
      await image.decode();
      return { startTime, duration, positionX, positionY, width, height, sheet: `${image.width}x${image.height}`, uri: uris[0].split('/').pop() };
    });
    assert.deepEqual(tile, { startTime: 2.5, duration: 0.5, positionX: 160, positionY: 0, width: 160, height: 92, sheet: '320x184', uri: '00001.jpg' });
    if (name.startsWith('HLS')) {
      await page.evaluate(() => {
        const [track] = globalThis.shown.getTextTracks();
        globalThis.shown.selectTextTrack(track);
        globalThis.shown.setTextTrackVisibility?.(true);
      });
    }
    await playOut(page);
    if (name.startsWith('HLS')) assert.ok((await cues(page)).includes(CAPTION), JSON.stringify(await cues(page)));
    assert.ok(Math.abs(await page.evaluate(() => document.querySelector('video').duration) - 6) < 0.1);
    assert.deepEqual(await page.evaluate(() => globalThis.errors), []);
  });
}

test('Shaka Player searches by key pictures', async (t) => {
  const page = await player(t);
  const asked = [];
  page.on('request', (request) => asked.push(`${new URL(request.url()).pathname} ${request.headers().range ?? ''}`));
  await page.evaluate(async () => {
    const { shaka } = globalThis;
    globalThis.errors = [];
    const shown = new shaka.Player();
    globalThis.shown = shown;
    await shown.attach(document.querySelector('video'));
    shown.addEventListener('error', ({ detail }) => globalThis.errors.push(`${detail.code} ${detail.data}`));
    await shown.load('/cmaf/master.m3u8');
    await document.querySelector('video').play();
    shown.trickPlay(2);
  });
  await page.waitForFunction(() => document.querySelector('video').currentTime > 3, null, { polling: 'raf' });
  assert.ok(asked.some((request) => /iframes\.m3u8/.test(request)), asked.join('\n'));
  assert.deepEqual(await page.evaluate(() => globalThis.errors), []);
});
