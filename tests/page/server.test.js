// The page with the real server: a clip goes in, the verdicts and the stream come out, it
// is watched while it is still being made, and what can go wrong on the way is said.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, open, picture, sideways } from './browser.js';
import { BIN, Kinora } from './kinora.js';
import { watchPlayer } from './watch.js';

const MB = 1024 * 1024;
/** HEVC Main, 1920x1080, 24 fps, AAC, 14 s: plays on some boards and not on others. */
const CLIP = fileURLToPath(new URL('../../fixtures/media/bbb_1080p_hevc.mp4', import.meta.url));
const EXPECTED = { pi2: 'no', pi3: 'no', 'pi4-64': 'plays', pi5: 'plays', rockpi4: 'plays', arm64: 'no', x86: 'plays' };
const skip = BIN ? false : 'KINORA_BIN names no kinora to test';
/** Encoding in an unoptimised build on a busy machine. */
const LONG = { timeout: 240_000 };

let browser;
let folder;
const servers = [];
before(async () => {
  if (skip) return;
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-page-'));
});
after(async () => {
  await browser?.close();
  for (const server of servers) await server.close();
  if (folder) await rm(folder, { recursive: true });
});

async function serve(...options) {
  const server = await Kinora.start(...options);
  servers.push(server);
  return server;
}

const card = (page, name) => page.locator('.asset').filter({ hasText: name });
const media = (page, what, arg = null) => page.waitForFunction(what, arg, { polling: 'raf', timeout: 120_000 });
const ofChips = (page, name) => card(page, name).locator('.chip').evaluateAll((chips) => Object.fromEntries(chips.map((chip) => [chip.dataset.board, chip.dataset.verdict])));
const expected = (no) => Object.fromEntries(Object.entries(EXPECTED).map(([board, verdict]) => [board, verdict === 'no' ? no : verdict]));

/** Every fraction that a progress bar shows from here on. */
const watchProgress = (page) => page.evaluate(() => {
  globalThis.fractions = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) if (target.closest('.asset')) globalThis.fractions.push(Number(target.getAttribute('aria-valuenow')));
  }).observe(document.body, { subtree: true, attributeFilter: ['aria-valuenow'] });
});

async function playsAtThreeRungs(page) {
  for (const height of [360, 720, 1080]) {
    await page.evaluate(() => {
      const video = document.querySelector('video');
      if (video.ended) video.currentTime = 0;
      return video.play();
    });
    await page.getByRole('radio', { name: new RegExp(`^${height}p`) }).check();
    await media(page, (wanted) => document.querySelector('video').videoHeight === wanted, height);
    await page.getByText(`Showing ${height}p · ${(height * 16) / 9} × ${height}`).waitFor();
  }
  await media(page, () => document.querySelector('video').ended);
}

test('a clip goes in; its verdicts and its stream come out and play while it is being made', { skip, ...LONG }, async (t) => {
  const server = await serve('--policy', 'render');
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  await watchProgress(page);
  await page.setInputFiles('#files', CLIP);
  const one = card(page, 'bbb_1080p_hevc.mp4');
  await one.getByText('HEVC Main', { exact: true }).waitFor();
  await one.getByText('1920 × 1080, 24 fps').waitFor();
  await one.getByText(/^AAC stereo/).waitFor();
  assert.deepEqual(await ofChips(page, 'bbb'), expected('render'));
  await one.locator('.picture img').evaluate((image) => image.decode());

  await one.getByText(/Making the stream/).waitFor({ timeout: 60_000 });
  await one.getByRole('button', { name: /^Play/ }).last().click({ timeout: 120_000 });
  await media(page, () => document.querySelector('video').currentTime > 0.5);
  assert.equal(await one.getAttribute('data-stream'), 'running', 'it plays while it is still being made');
  assert.equal((await player.starts())[0], 0, 'it starts at the beginning');
  await picture(page, 'real-growing');
  const video = await page.evaluateHandle(() => document.querySelector('video'));
  await media(page, () => document.querySelector('.asset').dataset.stream === 'done');
  const fractions = await page.evaluate(() => globalThis.fractions);
  assert.deepEqual(fractions, [...fractions].sort((a, b) => a - b), 'progress only grows');
  assert.ok(new Set(fractions).size >= 3, `progress moves: ${fractions}`);
  await playsAtThreeRungs(page);
  assert.ok(await page.evaluate((old) => old === document.querySelector('video'), video), 'the video was never made anew');
  assert.deepEqual(await player.errors(), []);
  await picture(page, 'real-done', { fullPage: true });

  await page.getByRole('button', { name: 'Remove bbb_1080p_hevc.mp4' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it' }).click();
  assert.equal((await server.json('/api/assets')).length, 1, 'nothing is removed before the answer');
  await page.getByRole('button', { name: 'Remove bbb_1080p_hevc.mp4' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  assert.deepEqual(await server.json('/api/assets'), []);
});

test('an H.264 clip plays at three resolutions to its end', { skip, ...LONG }, async (t) => {
  const clip = join(folder, 'test card.mp4');
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=1920x1080:r=25:d=12', '-f', 'lavfi', '-i', 'sine=d=12', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac', clip]);
  const server = await serve('--policy', 'render');
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.setInputFiles('#files', clip);
  await card(page, 'test card.mp4').getByText(/^Stream ready: 1080p, 720p, 360p/).waitFor({ timeout: 180_000 });
  await card(page, 'test card.mp4').getByRole('button', { name: /^Play/ }).last().click();
  await page.getByRole('radio', { name: 'Auto' }).waitFor();
  await playsAtThreeRungs(page);
  // The tile of 9 s: the second of the third sheet, out of the store.
  const { x, y, width, height } = await page.getByRole('slider', { name: 'Position' }).boundingBox();
  await page.mouse.move(x + 8 + ((width - 16) * 9.2) / 12, y + height / 2);
  await media(page, () => document.querySelector('.tile').style.backgroundImage);
  const [sheet, place] = await page.locator('.tile').evaluate(({ style }) => [style.backgroundImage, style.backgroundPosition]);
  assert.match(sheet, /\/ipfs\/bafk\w+\?filename=00002\.jpg"\)$/);
  assert.equal(place, '-160px 0px');
  assert.deepEqual(await page.evaluate(async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    return [image.width, image.height];
  }, /"(.*)"/.exec(sheet)[1]), [320, 180]);
  await picture(page, 'real-thumbnail');
  assert.deepEqual(await player.errors(), []);
});

test('captions and the other sound can be chosen', { skip, ...LONG }, async (t) => {
  const clip = join(folder, 'talk.mkv');
  const captions = join(folder, 'talk.srt');
  await writeFile(captions, '1\n00:00:00,200 --> 00:00:07,500\nOne caption\n');
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=320x180:r=25:d=8', '-f', 'lavfi', '-i', 'sine=440:d=8', '-f', 'lavfi', '-i', 'sine=880:d=8', '-i', captions,
    '-map', '0', '-map', '1', '-map', '2', '-map', '3', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac', '-c:s', 'srt',
    '-metadata:s:a:0', 'language=eng', '-metadata:s:a:1', 'language=deu', '-metadata:s:s:0', 'language=eng', clip]);
  const server = await serve('--policy', 'render');
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await page.setInputFiles('#files', clip);
  await card(page, 'talk.mkv').getByText(/^Stream ready/).waitFor({ timeout: 120_000 });
  await card(page, 'talk.mkv').getByRole('button', { name: /^Play/ }).last().click();
  const shown = () => page.evaluate(() => [...document.querySelector('video').textTracks].filter(({ mode }) => mode === 'showing').flatMap(({ cues }) => [...(cues ?? [])].map(({ text }) => text)));
  const choices = (label) => page.getByLabel(label).locator('option').allTextContents();
  await page.getByLabel('Captions').waitFor();
  assert.deepEqual(await choices('Captions'), ['No captions', 'Captions: English']);
  assert.deepEqual(await choices('Sound track'), ['Sound: English', 'Sound: German']);
  assert.deepEqual(await shown(), [], 'nobody asked for captions');
  await page.getByLabel('Captions').selectOption({ index: 1 });
  await media(page, () => [...document.querySelector('video').textTracks].some(({ mode, activeCues }) => mode === 'showing' && activeCues?.length));
  assert.deepEqual(await shown(), ['One caption']);
  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await sideways(page), 0);
  await picture(page, 'real-captions');
  await page.getByLabel('Captions').selectOption('No captions');
  assert.deepEqual(await shown(), []);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.getByLabel('Sound track').selectOption({ index: 1 });
  await media(page, () => document.querySelector('video').ended);
  assert.equal(await page.getByLabel('Sound track').inputValue(), '1');
  assert.ok(asked.some((url) => /audio.*\.m3u8/.test(url)), asked.join('\n'));
  assert.deepEqual(await player.errors(), []);
});

test('under the policy gate a chip shows the reasons and the command, as the command line does', { skip, ...LONG }, async (t) => {
  const server = await serve('--policy', 'gate', '--no-streams');
  const page = await open(t, browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.setInputFiles('#files', CLIP);
  await card(page, 'bbb').locator('.chip').first().waitFor();
  assert.deepEqual(await ofChips(page, 'bbb'), expected('reject'));
  const [said] = execBin('check', CLIP, '--json', '--policy', 'gate', '--board', 'pi3');
  await card(page, 'bbb').locator('.chip[data-board="pi3"]').click();
  const sheet = page.getByRole('dialog', { name: `${said.name}: Can’t play` });
  for (const reason of said.reasons) await sheet.getByText(reason.slice(reason.indexOf(': ') + 2)).waitFor();
  await picture(page, 'real-dialog');
  await sheet.getByRole('button', { name: 'Copy command' }).click();
  await sheet.getByText('Copied', { exact: true }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const [asset] = await server.json('/api/assets');
  assert.equal(copied, asset.verdicts.find(({ board }) => board === 'pi3').command);
  assert.match(copied, /^ffmpeg /);
});

/** `kinora check` exits with 3 when a board rejects; its output is as good then. */
function execBin(...args) {
  try {
    return JSON.parse(execFileSync(BIN, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  } catch (error) {
    if (error.status !== 3) throw error;
    return JSON.parse(error.stdout);
  }
}

test('an upload survives the sudden end of the server', { skip, ...LONG }, async (t) => {
  const server = await serve('--no-streams');
  const page = await open(t, browser, server.url, { failing: true });
  const bytes = randomBytes(24 * MB);
  const path = join(folder, 'survivor.mp4');
  await writeFile(path, bytes);
  const network = await page.context().newCDPSession(page);
  const limit = (uploadThroughput) => network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput });
  await limit(6 * MB);
  await page.setInputFiles('#files', path);
  await page.waitForFunction(() => Number(document.querySelector('.transfer .bar')?.getAttribute('aria-valuenow')) >= 40);
  await server.kill();
  await page.locator('.transfer').getByText(/Connection lost/).waitFor();
  await page.getByRole('alert').getByText(/connection to Kinora is lost/).waitFor();
  let again = 0;
  page.on('request', (request) => {
    if (request.method() === 'POST') again += 1;
  });
  await limit(-1);
  await server.up();
  await card(page, 'survivor.mp4').waitFor({ timeout: 60_000 });
  assert.equal(again, 0, 'it was not begun again');
  const [asset] = await server.json('/api/assets');
  const arrived = Buffer.from(await (await fetch(new URL(`/api/assets/${asset.id}/file`, server.url))).arrayBuffer());
  assert.equal(createHash('sha256').update(arrived).digest('hex'), createHash('sha256').update(bytes).digest('hex'));
  // Random bytes are no video; the page says so, with the name.
  await card(page, 'survivor.mp4').getByText(/This file cannot be used. .*survivor.mp4/).waitFor();
});

test('bad files are named with the reason, and hostile names stay names', { skip, ...LONG }, async (t) => {
  const server = await serve('--no-streams', '--max-upload', '2MB');
  const page = await open(t, browser, server.url, { viewport: { width: 360, height: 740 } });
  await page.getByText('files up to 2.0 MB').waitFor();
  const hostile = '<img src=x onerror=alert(1)> "quoted" $(reboot) \u202Egpj.mp4';
  await page.setInputFiles('#files', [
    { name: 'text.mp4', mimeType: 'video/mp4', buffer: Buffer.from('This is no video.\n'.repeat(40)) },
    { name: hostile, mimeType: 'video/mp4', buffer: randomBytes(5000) },
    { name: 'large.mp4', mimeType: 'video/mp4', buffer: Buffer.alloc(3 * MB) },
  ]);
  await card(page, 'text.mp4').getByText(/This file cannot be used. .*text.mp4/).waitFor();
  await card(page, '<img src=x').getByText(/This file cannot be used/).waitFor();
  await page.locator('.transfer').getByText('Not uploaded: it has 3.1 MB and this server takes at most 2.0 MB.').waitFor();
  assert.equal(await page.locator('.asset img[src="x"]').count(), 0);
  assert.equal(await sideways(page), 0);
  await picture(page, 'real-bad', { fullPage: true });
  for (const name of ['text.mp4', '<img src=x']) {
    await card(page, name).getByRole('button', { name: /^Remove/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await card(page, name).waitFor({ state: 'detached' });
  }
  assert.deepEqual(await server.json('/api/assets'), []);
});

test('what another client does shows at once', { skip, ...LONG }, async (t) => {
  const server = await serve('--no-streams');
  const page = await open(t, browser, server.url);
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  const response = await fetch(new URL('/api/assets?name=from%20outside.mp4', server.url), { method: 'POST', body: 'not a video' });
  const asset = await response.json();
  await card(page, 'from outside.mp4').getByText(/cannot be used/).waitFor();
  await fetch(new URL(`/api/assets/${asset.id}`, server.url), { method: 'DELETE' });
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
});
