// The player against a stream cut by ffmpeg that the test lets grow segment by segment:
// it starts at 0, waits for the encoder instead of stalling, changes rungs, and never
// raises an error event of hls.js.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, picture, sideways } from './browser.js';
import { Canned, done, ready, running } from './canned.js';
import { watchPlayer } from './watch.js';

const RUNGS = [['1080p', '960x540', 900_000], ['720p', '640x360', 500_000], ['360p', '320x180', 250_000]];
const SEGMENTS = 4;
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

/** Puts a whole file in place at once, as the server does: a player may be reading the old one. */
async function place(path, write) {
  await write(`${path}.new`);
  await rename(`${path}.new`, path);
}

/** A stream `id` of which the first `count` segments are there. */
async function publish(id, count) {
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
  await place(join(folder, id, 'master.m3u8'), (path) => writeFile(path, `#EXTM3U\n${lines.join('\n')}\n`));
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
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'VIDEO');
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
