// What boards play of a video and what is rendered for them, from canned answers: states, progress,
// failures, what an operator says; boards and their policy; the disk; many videos.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { execFileSync } from 'node:child_process';
import { faintText, launch, open, picture, sideways, smallTargets } from './browser.js';
import { Canned, ready } from './canned.js';

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

let browser;
let thumbnail;
const servers = [];
before(async () => {
  browser = await launch();
  thumbnail = execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=640x360:d=1', '-frames:v', '1', '-f', 'mjpeg', '-']);
});
after(async () => {
  await browser.close();
  for (const server of servers) await server.close();
});

async function canned(assets = []) {
  const server = await new Canned().start();
  server.assets = assets;
  server.thumbnail = thumbnail;
  server.boards[0].enrolled = { policy: null, renders: true, since: '2026-11-20T12:00:00Z' };
  server.boards[1].enrolled = { policy: 'gate', renders: false, since: '2026-11-20T12:00:00Z' };
  Object.assign(server.rendering, { unfinished: 2, done: 5, failed: 1 });
  servers.push(server);
  return server;
}

const variant = (board, state, more = {}) => ({ board, state, url: null, key: null, size: null, how: null, progress: null, error: null, log: null, wanted_since: null, ...more });
const VARIANTS = [
  variant('pi3', 'running', { url: '/ipfs/old', progress: { fraction: 0.42, media_s: 4, total_s: null, speed: 1.5, eta_s: 130, waiting: null } }),
  variant('pi4-64', 'failed', { error: 'clip.mp4: the worker crashed (SIGSEGV)', log: 'decoding frame 14\nout of luck' }),
  variant('pi5', 'original', { url: '/ipfs/same', size: 7_400_000 }),
  variant('x86', 'done', { url: '/ipfs/made', size: 5_100_000, how: { kind: 'rewrapped', warnings: ['left out: subtitles (pgs)'] } }),
  variant('rockpi4', 'waiting'),
  variant('arm64', 'rejected', { error: 'codec: hevc is not decoded by this board, only h264' }),
];
const rendered = (id, name, more = {}) => ready(id, name, { variants: VARIANTS, priority: 0, paused: false, ...more });

test('each enrolled board has a row with where its variant stands', async (t) => {
  const server = await canned([rendered('one', 'clip.mp4')]);
  const page = await open(t, browser, server.url);
  const rows = page.getByRole('region', { name: 'What boards play of clip.mp4' });
  await rows.getByText('Ready for 3 of 6 enrolled boards').waitFor();
  const states = await rows.locator('.variant-state').allTextContents();
  assert.equal(states.length, 6);
  assert.match(states[0], /^42 % rendered · .*2/);
  assert.deepEqual(states.slice(1), ['Could not be rendered', 'Plays the file itself', 'Ready · 5.1 MB · not encoded again', 'Waits for its turn', 'Can’t play it']);
  assert.equal(await rows.getByRole('progressbar').getAttribute('aria-valuenow'), '42');
  await rows.getByText('clip.mp4: the worker crashed (SIGSEGV)').waitFor();
  assert.equal(await rows.getByText('left out: subtitles (pgs)').isVisible(), true);
  assert.equal(await rows.getByText('out of luck').isVisible(), false);
  await rows.locator('summary:visible').click();
  assert.equal(await rows.locator('pre:visible').textContent(), 'decoding frame 14\nout of luck');
  await picture(page, 'variants');
  // An event changes what is there and nothing else: what was opened stays so.
  const later = { ...VARIANTS[0], state: 'done', size: 3_000_000, url: '/ipfs/new', progress: null };
  server.put(rendered('one', 'clip.mp4', { variants: [later, ...VARIANTS.slice(1)] }));
  await rows.getByText('Ready · 3.0 MB').waitFor();
  assert.equal(await rows.getByText('out of luck').isVisible(), true);
});

test('an operator pauses, orders, cancels and tries again', async (t) => {
  const server = await canned([rendered('one', 'clip.mp4')]);
  const page = await open(t, browser, server.url);
  const press = async (name, said) => {
    await page.getByRole('button', { name, exact: true }).click();
    await page.waitForFunction(() => true);
    const until = Date.now() + 5000;
    while (server.changes.length === 0 && Date.now() < until) await page.evaluate(() => new Promise(requestAnimationFrame));
    assert.deepEqual(server.changes.splice(0), said);
  };
  await press('Pause the rendering of clip.mp4', [['one', { paused: true }]]);
  await page.getByText('Paused').first().waitFor();
  await press('Resume the rendering of clip.mp4', [['one', { paused: false }]]);
  await press('Render first: clip.mp4', [['one', { priority: 1 }]]);
  await press('Cancel the rendering of clip.mp4', [['one', { cancel: true }]]);
  await press('Render again what failed of clip.mp4', [['one', { retry: true }]]);
  await press('Try all failed again', [[null, { retry: true }]]);
  server.rendering.variants = [{ asset: 'one', name: 'clip.mp4', key: 'a', boards: ['pi3'], state: 'waiting', progress: null, error: null, log: null, wanted_since: '2026-11-20T12:00:00Z', priority: 1, paused: false }];
  server.put(rendered('one', 'clip.mp4', { priority: 1 }));
  await press('Render all in turn', [[null, { priority: 0 }]]);
  await press('Pause all', [[null, { paused: true }]]);
  await page.getByText('2 to render, 5 ready, 1 failed, all paused').waitFor();
  await page.getByRole('region', { name: 'What boards play of clip.mp4' }).getByText('Paused').first().waitFor();
  await page.getByRole('button', { name: 'Cancel all', exact: true }).click();
  await page.locator('#confirm').getByRole('button', { name: 'Cancel all' }).click();
  await page.getByText('5 ready, 1 failed, 2 cancelled, all paused').waitFor();
});

test('what the server refuses is said where it was asked', async (t) => {
  const server = await canned([rendered('one', 'clip.mp4')]);
  const page = await open(t, browser, server.url, { failing: true });
  await page.getByText('Ready for 3 of 6 enrolled boards').waitFor();
  server.fault = (method) => (method === 'PATCH' ? { status: 507, detail: 'the disk is full' } : null);
  await page.getByRole('button', { name: 'Pause the rendering of clip.mp4' }).click();
  await page.getByText('Not done: the disk is full.').waitFor();
});

test('boards are enrolled, get a policy and are removed; the disk is shown', async (t) => {
  const server = await canned([rendered('one', 'clip.mp4')]);
  const page = await open(t, browser, server.url);
  const box = page.getByRole('region', { name: 'Boards and rendering' });
  await box.getByText('182 GB free of 500 GB').waitFor();
  await box.getByText('variants 64.0 GB').waitFor();
  const policy = (name) => box.getByLabel(`What is done about files that ${name} cannot play`);
  assert.equal(await policy('Raspberry Pi 4').inputValue(), 'gate');
  await policy('Raspberry Pi 3').selectOption('gate');
  await page.waitForFunction(() => document.getElementById('policy-pi3')?.value === 'gate');
  assert.equal(server.boards[0].enrolled.policy, 'gate');
  await box.getByLabel('Keep variants ready for').selectOption('x86');
  await box.getByRole('button', { name: 'Enrol' }).click();
  await policy('PC (x86)').waitFor();
  await picture(page, 'boards');
  await box.getByRole('button', { name: 'Keep no variants ready for PC (x86)' }).click();
  await page.locator('#confirm').getByRole('button', { name: 'Remove' }).click();
  await policy('PC (x86)').waitFor({ state: 'detached' });
  assert.equal(server.boards[2].enrolled, null);
});

test('playlists say what they play now, old videos too', async (t) => {
  const many = Array.from({ length: 502 }, (_, at) => rendered(`a${at}`, `clip ${at}.mp4`, { created: new Date(Date.UTC(2026, 10, 20) - at * 60_000).toISOString() }));
  const server = await canned(many);
  const items = ['a501', 'a1', 'a2', 'a3', 'gone'].map((asset) => ({ asset, duration_s: 10, enabled: true }));
  server.playlists = [{ name: 'default', version: 0, time_zone: 'UTC', items: [] }, { name: 'hall', version: 3, time_zone: 'UTC', items }];
  // One of them is not there any more.
  const page = await open(t, browser, server.url, { failing: true });
  const box = page.getByRole('region', { name: 'What screens play' });
  await box.getByText('nothing yet').waitFor();
  await box.getByText('4 of 5 now: clip 501.mp4, clip 1.mp4, clip 2.mp4, 1 more').waitFor();
  await picture(page, 'playlists');
  await box.getByRole('button', { name: 'Change what hall plays' }).click();
  const sheet = page.locator('#playlists');
  await sheet.getByText('gone (gone)').waitFor();
  assert.deepEqual(await sheet.locator('.item .token-name').allTextContents(), ['clip 501.mp4', 'clip 1.mp4', 'clip 2.mp4', 'clip 3.mp4', 'gone (gone)']);
});

test('very many videos are found by name and shown by and by', async (t) => {
  const many = Array.from({ length: 230 }, (_, at) => rendered(`a${at}`, at === 229 ? 'the needle.mp4' : `clip ${at}.mp4`, { created: new Date(Date.UTC(2026, 10, 20) - at * 60_000).toISOString() }));
  const server = await canned(many);
  const page = await open(t, browser, server.url);
  await page.getByText('230 videos').waitFor();
  const cards = page.locator('#assets > .asset');
  assert.equal(await cards.count(), 100);
  // News of one that is further down does not bring it up.
  server.send('asset', many[220]);
  server.send('asset', { ...many[0], name: 'clip 0, renamed.mp4' });
  await page.getByRole('article', { name: 'clip 0, renamed.mp4' }).waitFor();
  assert.equal(await cards.count(), 100);
  await page.getByRole('button', { name: 'Show older videos' }).click();
  await page.getByRole('article', { name: 'clip 199.mp4' }).waitFor();
  assert.equal(await cards.count(), 200);
  await page.getByLabel('Find videos by name').fill('NEEDLE');
  await page.getByText('1 video is called so').waitFor();
  assert.equal(await cards.count(), 1);
  await page.getByLabel('Find videos by name').fill('nothing like it');
  await page.getByText('0 videos are called so').waitFor();
  assert.equal(await page.locator('#empty').isVisible(), false);
  await page.getByLabel('Find videos by name').fill('');
  await page.getByText('230 videos').waitFor();
});

for (const scheme of ['light', 'dark']) {
  test(`on a phone, ${scheme}: nothing is cut off, faint or too small`, async (t) => {
    const server = await canned([rendered('one', `${'W'.repeat(120)}.mp4`)]);
    const page = await open(t, browser, server.url, { ...PHONE, colorScheme: scheme });
    await page.getByText('182 GB free of 500 GB').waitFor();
    assert.equal(await sideways(page), 0);
    assert.deepEqual(await smallTargets(page), []);
    assert.deepEqual(await faintText(page), []);
    await picture(page, `variants-phone-${scheme}`);
  });
}
