// The player against a stream cut by ffmpeg that the test lets grow segment by segment:
// it starts at 0, waits for the encoder instead of stalling, changes rungs, shows thumbnails
// on its seek bar, and never raises an error event of hls.js.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, picture, sideways, smallTargets } from './browser.js';
import { Canned, done, ready, running } from './canned.js';
import { watchPlayer } from './watch.js';

const RUNGS = [['1080p', '960x540', 900_000], ['720p', '640x360', 500_000], ['360p', '320x180', 250_000]];
const SEGMENTS = 4;
/** Tiles of half a second, as `kinora ladder` lays them out. */
const TILE = { width: 160, height: 90 };
let browser;
let folder;
const servers = [];

before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-stream-'));
  for (const [name, size] of RUNGS) {
    const rung = join(folder, 'full', name);
    await mkdir(rung, { recursive: true });
    // Neither B-frames nor sound: ffmpeg's muxer then starts the picture late (by the
    // reordering, by the AAC encoder's priming), which hls.js rightly reports as a hole.
    execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', `testsrc2=s=${size}:r=25:d=${SEGMENTS * 2}`,
      '-c:v', 'libx264', '-preset', 'ultrafast', '-bf', '0', '-g', '50', '-sc_threshold', '0', '-pix_fmt', 'yuv420p',
      '-f', 'hls', '-hls_time', '2', '-hls_playlist_type', 'vod', '-hls_segment_filename', join(rung, '%05d.ts'), join(rung, 'full.m3u8')]);
  }
});
after(async () => {
  await browser.close();
  for (const server of servers) await server.close();
  await rm(folder, { recursive: true });
});

/** The first `count` sheets of thumbnails of stream `id`, and their line in the master playlist. */
async function publishThumbnails(id, count) {
  const images = join(folder, id, 'thumbnails');
  await mkdir(images, { recursive: true });
  execFileSync('ffmpeg', ['-v', 'error', '-y', '-f', 'lavfi', '-i', `testsrc2=s=${TILE.width}x${TILE.height}:r=2:d=${SEGMENTS * 2}`, '-vf', 'tile=2x2', '-start_number', '0', join(images, '%05d.jpg')]);
  const sheets = Array.from({ length: count }, (_, i) => `#EXTINF:2.000000,\n#EXT-X-TILES:RESOLUTION=${TILE.width}x${TILE.height},LAYOUT=2x2,DURATION=0.500000\n0000${i}.jpg\n`);
  await place(join(images, 'playlist.m3u8'), (path) => writeFile(path, `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-IMAGES-ONLY\n${sheets.join('')}`));
  return '#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=25772,CODECS="jpeg",RESOLUTION=160x90,URI="thumbnails/playlist.m3u8"\n';
}

/** Puts a whole file in place at once, as the server does: a player may be reading the old one. */
async function place(path, write) {
  await write(`${path}.new`);
  await rename(`${path}.new`, path);
}

/** A stream `id` of which the first `count` segments are there. */
async function publish(id, count, { thumbnails = false } = {}) {
  const images = thumbnails ? await publishThumbnails(id, count) : '';
  for (const [name] of RUNGS) {
    const rung = join(folder, id, name);
    await mkdir(rung, { recursive: true });
    const full = await readFile(join(folder, 'full', name, 'full.m3u8'), 'utf8');
    const segments = [...full.matchAll(/#EXTINF:.*\n.*\.ts/g)].map(([text]) => text);
    assert.equal(segments.length, SEGMENTS);
    for (let i = 0; i < count; i += 1) {
      const file = `${String(i).padStart(5, '0')}.ts`;
      await place(join(rung, file), (path) => copyFile(join(folder, 'full', name, file), path));
    }
    const ended = count === SEGMENTS;
    const text = `#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:${ended ? 'VOD' : 'EVENT'}\n#EXT-X-INDEPENDENT-SEGMENTS\n${segments.slice(0, count).join('\n')}\n${ended ? '#EXT-X-ENDLIST\n' : ''}`;
    await place(join(rung, 'playlist.m3u8'), (path) => writeFile(path, text));
  }
  const lines = RUNGS.map(([name, size, rate]) => `#EXT-X-STREAM-INF:BANDWIDTH=${rate},RESOLUTION=${size},CODECS="avc1.42c01f"\n${name}/playlist.m3u8`);
  await place(join(folder, id, 'master.m3u8'), (path) => writeFile(path, `#EXTM3U\n${lines.join('\n')}\n${images}`));
}

async function canned(...assets) {
  const server = await new Canned().start();
  server.assets = assets;
  server.thumbnail = execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=640x360:d=1', '-frames:v', '1', '-f', 'mjpeg', '-']);
  server.streams = folder;
  servers.push(server);
  return server;
}

const media = (page, what) => page.waitForFunction(what, null, { polling: 'raf' });

test('a finished stream plays at the rung that is chosen, to its end', async (t) => {
  await publish('vod', SEGMENTS);
  const server = await canned(ready('vod', 'clip.mp4', { stream: done('vod') }));
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  assert.ok(!server.seen.includes('GET /hls.min.js'), 'the player is fetched when something is played');
  await page.getByRole('button', { name: 'Play clip.mp4' }).last().click();
  await page.getByRole('radiogroup', { name: 'Resolution' }).waitFor();
  const choices = await page.locator('.rung').evaluateAll((all) => all.map((label) => label.querySelector('span').firstChild.data));
  assert.deepEqual(choices, ['Auto', '1080p', '720p', '360p']);
  assert.ok(await page.getByRole('radio', { name: 'Auto' }).isChecked());
  // The words must never name another rung than the one in the picture.
  await page.evaluate((sizes) => {
    globalThis.lies = [];
    const now = document.querySelector('.now');
    new MutationObserver(() => {
      const said = /^Showing (\S+) · (\d+) × (\d+)/.exec(now.textContent);
      if (said && sizes[said[1]] !== `${said[2]}x${said[3]}`) globalThis.lies.push(now.textContent);
    }).observe(now, { childList: true, characterData: true, subtree: true });
  }, Object.fromEntries(RUNGS));
  for (const [name, size] of [...RUNGS].reverse()) {
    await page.getByRole('radio', { name: new RegExp(`^${name}`) }).check();
    await page.getByText(`Showing ${name} · ${size.replace('x', ' × ')}`).waitFor();
  }
  await picture(page, 'playing');
  // In the last segment too, where no key frame comes any more.
  await media(page, () => document.querySelector('video').currentTime > 6.1);
  await page.getByRole('radio', { name: /^360p/ }).check();
  await media(page, () => document.querySelector('video').videoHeight === 180);
  assert.equal(await page.evaluate(() => document.querySelector('video').ended), false, 'the choice shows at once');
  await page.getByRole('radio', { name: /^1080p/ }).check();
  await media(page, () => document.querySelector('video').ended);
  assert.equal(await page.evaluate(() => document.querySelector('video').videoHeight), 540);
  assert.deepEqual(await page.evaluate(() => globalThis.lies), []);
  assert.deepEqual(await player.errors(), []);
  await page.getByRole('button', { name: 'Close player' }).click();
  assert.equal(await page.locator('video').count(), 0);
});

test('a stream that is still being made starts at 0, waits at the encoder’s edge and goes on', async (t) => {
  await publish('live', 1);
  const server = await canned(ready('live', 'growing.mp4', { stream: running('live', 0.25, { url: '/streams/live/master.m3u8' }) }));
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.getByRole('button', { name: 'Play growing.mp4' }).last().click();
  await page.getByText(/Waiting for the encoder: 0:02 of 0:14 is made/).waitFor();
  assert.ok(await page.evaluate(() => document.querySelector('video').currentTime < 2));
  assert.equal((await player.starts())[0], 0, 'it starts at the beginning');
  await picture(page, 'waiting');
  const video = await page.evaluateHandle(() => document.querySelector('video'));
  // Progress events while it plays must leave the video alone.
  for (let step = 26; step < 40; step += 1) server.put({ ...server.assets[0], stream: running('live', step / 100, { url: '/streams/live/master.m3u8' }) });
  await page.getByText(/39 %/).waitFor();
  assert.ok(await page.evaluate((old) => old === document.querySelector('video') && old.isConnected, video));
  await publish('live', 3);
  await media(page, () => document.querySelector('video').currentTime > 2.5);
  await page.getByText(/Waiting for the encoder/).waitFor();
  await publish('live', SEGMENTS);
  server.put({ ...server.assets[0], stream: done('live') });
  await media(page, () => document.querySelector('video').ended);
  assert.ok(await page.evaluate((old) => old === document.querySelector('video'), video));
  assert.deepEqual(await player.errors(), []);
});

for (const [name, size] of [RUNGS[0], RUNGS[2]]) {
  test(`${name}, chosen while the first segment is on its way, shows`, async (t) => {
    await publish('early', SEGMENTS);
    const server = await canned(ready('early', 'clip.mp4', { stream: done('early') }));
    const page = await open(t, browser, server.url);
    const player = await watchPlayer(page);
    let go;
    const held = new Promise((resolve) => { go = resolve; });
    await page.route('**/*.ts', async (route) => {
      await held;
      await route.continue();
    });
    await Promise.all([page.waitForRequest('**/*.ts'), page.getByRole('button', { name: 'Play clip.mp4' }).last().click()]);
    await page.getByRole('radio', { name: new RegExp(`^${name}`) }).check();
    go();
    await page.getByText(`Showing ${name} · ${size.replace('x', ' × ')}`).waitFor();
    await media(page, () => document.querySelector('video').currentTime > 0.5);
    assert.deepEqual(await player.errors(), []);
  });
}

test('a stream that is taken away says so and offers another try', async (t) => {
  const server = await canned(ready('none', 'missing.mp4', { stream: done('none') }));
  const page = await open(t, browser, server.url, { failing: true });
  await page.getByRole('button', { name: 'Play missing.mp4' }).last().click();
  await page.getByText(/missing.mp4 stopped: the server does not deliver it/).waitFor();
  await picture(page, 'stopped');
  await publish('none', SEGMENTS);
  await page.getByRole('button', { name: 'Try again', exact: true }).click();
  await media(page, () => document.querySelector('video').currentTime > 0.5);
  server.send('removed', { id: 'none' });
  await page.locator('video').waitFor({ state: 'detached' });
});

test('the player works by keyboard and at phone width', async (t) => {
  await publish('keys', SEGMENTS);
  const server = await canned(ready('keys', 'clip.mp4', { stream: done('keys') }), ready('other', 'other.mp4', { stream: done('keys') }));
  const page = await open(t, browser, server.url, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
  await page.getByRole('button', { name: 'Play clip.mp4' }).last().focus();
  await page.keyboard.press('Enter');
  await page.getByRole('radio', { name: 'Auto' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Pause');
  await page.getByRole('radio', { name: 'Auto' }).focus();
  await page.keyboard.press('ArrowDown');
  await page.getByText('Showing 1080p · 960 × 540').waitFor();
  await page.keyboard.press('ArrowDown');
  await page.getByText('Showing 720p · 640 × 360').waitFor();
  assert.equal(await sideways(page), 0);
  await picture(page, 'phone-playing');
  // Starting another ends this one.
  await page.getByRole('button', { name: 'Play other.mp4' }).last().click();
  await media(page, () => document.querySelector('video').currentTime > 0);
  assert.equal(await page.locator('video').count(), 1);
  await page.getByRole('button', { name: 'Close player' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Play other.mp4');
});

/** What is shown above the seek bar: the tile's sheet and place, and the time. */
const shown = (page) => page.evaluate(() => {
  const [box, tile, time] = ['.preview', '.tile', '.tile-time'].map((name) => document.querySelector(name));
  if (box.hidden) return null;
  const { backgroundImage, backgroundPosition, width } = tile.style;
  return [tile.hidden ? 'no tile' : `${/(\d+\.jpg)/.exec(backgroundImage)[1]} ${backgroundPosition} ${width}`, time.textContent].join(' at ');
});
const showing = (page, what) => page.waitForFunction((wanted) => {
  const box = document.querySelector('.preview');
  return !box.hidden && !document.querySelector('.tile').hidden === (wanted !== 'no tile');
}, what, { polling: 'raf' });
const slider = (page) => page.getByRole('slider', { name: 'Position' });
/** Where on the bar a moment of a finished stream is. */
async function spot(page, seconds) {
  const { x, y, width, height } = await slider(page).boundingBox();
  return [x + 8 + ((width - 16) * seconds) / (SEGMENTS * 2), y + height / 2];
}
const now = (page) => page.evaluate(() => document.querySelector('video').currentTime);
const pause = (page) => page.evaluate(() => document.querySelector('video').pause());

test('thumbnails follow the mouse, a drag and the keys along the seek bar', async (t) => {
  await publish('seek', SEGMENTS, { thumbnails: true });
  const server = await canned(ready('seek', 'clip.mp4', { stream: done('seek') }));
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.getByRole('button', { name: 'Play clip.mp4' }).last().press('Enter');
  await media(page, () => document.querySelector('video').currentTime > 0.2);
  await pause(page);
  assert.ok(!server.seen.some((line) => line.includes('/thumbnails/')), 'thumbnails are fetched when somebody points');
  assert.equal(await shown(page), null);
  await page.mouse.move(...await spot(page, 2.6));
  await showing(page, 'tile');
  assert.equal(await shown(page), '00001.jpg -160px 0px 160px at 0:02');
  await picture(page, 'thumbnail');
  await page.mouse.move(...await spot(page, 7.4));
  assert.equal(await shown(page), '00003.jpg 0px -90px 160px at 0:07');
  // At the ends the tile stays within the player.
  for (const seconds of [0.1, 7.9]) {
    await page.mouse.move(...await spot(page, seconds));
    const { preview, bar } = await page.evaluate(() => Object.fromEntries([['preview', '.preview'], ['bar', '.seek']].map(([key, name]) => [key, document.querySelector(name).getBoundingClientRect().toJSON()])));
    assert.ok(preview.left >= bar.left - 1 && preview.right <= bar.right + 1, `${seconds}: ${preview.left}-${preview.right} in ${bar.left}-${bar.right}`);
  }
  await page.mouse.move(5, 5);
  assert.equal(await shown(page), null);

  // A drag shows where it would lead, and leads there when it is let go.
  const from = await now(page);
  await page.mouse.move(...await spot(page, from));
  await page.mouse.down();
  await page.mouse.move(...await spot(page, 5.2), { steps: 5 });
  assert.equal(await shown(page), '00002.jpg 0px -90px 160px at 0:05');
  assert.equal(await now(page), from, 'nothing jumps while it is dragged');
  await page.mouse.up();
  await media(page, () => Math.abs(document.querySelector('video').currentTime - 5.2) < 0.1 && !document.querySelector('video').seeking);

  await slider(page).focus();
  await page.keyboard.press('Home');
  assert.equal(await shown(page), '00000.jpg 0px 0px 160px at 0:00');
  assert.equal(await slider(page).getAttribute('aria-valuetext'), '0:00 of 0:08');
  await page.keyboard.press('ArrowRight');
  assert.equal(await shown(page), '00002.jpg 0px -90px 160px at 0:05');
  assert.equal(await slider(page).getAttribute('aria-valuetext'), '0:05 of 0:08');
  await media(page, () => Math.abs(document.querySelector('video').currentTime - 5) < 0.1);
  await page.waitForFunction(() => document.querySelector('.preview').hidden);
  await page.keyboard.press('m');
  await page.getByRole('button', { name: 'Sound on' }).waitFor();
  await page.getByRole('button', { name: 'Full screen' }).click();
  await page.waitForFunction(() => document.fullscreenElement?.matches('.screen'));
  await picture(page, 'full-screen');
  await page.keyboard.press('f');
  await page.waitForFunction(() => !document.fullscreenElement);
  await page.getByRole('button', { name: 'Full screen' }).waitFor();
  await page.locator('video').click();
  await media(page, () => document.querySelector('video').ended);
  assert.deepEqual(await player.errors(), []);
});

test('a finger on the seek bar sees thumbnails too', async (t) => {
  await publish('touch', SEGMENTS, { thumbnails: true });
  const server = await canned(ready('touch', 'clip.mp4', { stream: done('touch') }));
  const page = await open(t, browser, server.url, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  const player = await watchPlayer(page);
  await page.getByRole('button', { name: 'Play clip.mp4' }).last().tap();
  await media(page, () => document.querySelector('video').currentTime > 0.2);
  await pause(page);
  assert.deepEqual(await smallTargets(page), []);
  await slider(page).scrollIntoViewIfNeeded();
  const finger = await page.context().newCDPSession(page);
  const touch = (type, ...points) => finger.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y]) => ({ x, y })) });
  await touch('touchStart', await spot(page, await now(page)));
  for (const seconds of [1, 2, 3, 4.2]) await touch('touchMove', await spot(page, seconds));
  await showing(page, 'tile');
  assert.equal(await shown(page), '00002.jpg 0px 0px 160px at 0:04');
  assert.equal(await sideways(page), 0);
  await picture(page, 'thumbnail-touch');
  await touch('touchEnd');
  await media(page, () => Math.abs(document.querySelector('video').currentTime - 4.2) < 0.15);
  assert.equal(await shown(page), null);
  assert.deepEqual(await player.errors(), []);
});

test('a growing stream’s thumbnails grow with it, and a stream without any shows the time', async (t) => {
  await publish('young', 1, { thumbnails: true });
  await publish('bare', SEGMENTS);
  const server = await canned(ready('young', 'growing.mp4', { stream: running('young', 0.25, { url: '/streams/young/master.m3u8' }) }), ready('bare', 'bare.mp4', { stream: done('bare') }));
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.getByRole('button', { name: 'Play growing.mp4' }).last().click();
  await page.getByText(/Waiting for the encoder/).waitFor();
  const { x, y, width, height } = await slider(page).boundingBox();
  await page.mouse.move(x + width - 10, y + height / 2);
  await showing(page, 'tile');
  assert.match(await shown(page), /^00000\.jpg -160px -90px/);
  await publish('young', 3, { thumbnails: true });
  await media(page, () => Number(document.querySelector('.seek').max) > 5);
  await page.mouse.move(x + width - 11, y + height / 2);
  await page.waitForFunction(() => document.querySelector('.tile').style.backgroundImage.includes('00002.jpg'));
  await publish('young', SEGMENTS, { thumbnails: true });
  server.put({ ...server.assets[0], stream: done('young') });

  await page.getByRole('button', { name: 'Play bare.mp4' }).last().click();
  await media(page, () => document.querySelector('video').currentTime > 0.2);
  await page.mouse.move(...await spot(page, 2.6));
  await showing(page, 'no tile');
  assert.equal(await shown(page), 'no tile at 0:02');
  await picture(page, 'no-thumbnail');
  assert.deepEqual(await player.errors(), []);
});
