// The page's states, from canned answers: what is shown, what a key does, and that the
// page holds at phone width, in both colour schemes and with names made to break it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { execFileSync } from 'node:child_process';
import { faintText, launch, open, picture, sideways, smallTargets } from './browser.js';
import { Canned, PROBE, VERDICTS, blank, done, ready, running } from './canned.js';

const HOSTILE = '<img src=x onerror="document.title=1">"\'`\n../../etc/\u202Egpj.exe & $(reboot) ' + 'W'.repeat(180) + '.mp4';
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

let browser;
let thumbnail;
before(async () => {
  browser = await launch();
  thumbnail = execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=640x360:d=1', '-frames:v', '1', '-f', 'mjpeg', '-']);
});
// Servers close last: a page that loses its server first has something to complain about.
const servers = [];
after(async () => {
  await browser.close();
  for (const server of servers) await server.close();
});

async function canned(assets = []) {
  const server = await new Canned().start();
  server.assets = assets;
  server.thumbnail = thumbnail;
  servers.push(server);
  return server;
}

const card = (page, name) => page.getByRole('article', { name });
const everything = () => [
  ready('one', 'Summer opening, final cut.mp4', { created: '2026-11-20T12:00:00Z', stream: done('one') }),
  ready('two', 'lobby loop.mkv', { created: '2026-11-20T11:00:00Z', stream: running('two', 0.42), verdicts: VERDICTS.map((verdict) => ({ ...verdict, ...VERDICTS[2], board: verdict.board, name: verdict.name })) }),
  { ...blank('phone, just sent.mov', 84_000_000), id: 'three', created: '2026-11-20T10:30:00Z' },
  { ...blank('not really a video.mp4', 512), id: 'four', cid: 'bafyfour', created: '2026-11-20T10:00:00Z', state: 'failed', error: 'not really a video.mp4: no known container; the file begins like text' },
  ready('five', 'vertical story.mp4', { created: '2026-11-20T09:00:00Z', stream: { ...done('five'), state: 'failed', url: null, error: 'vertical story.mp4: the disk is full: 12 MB are free, the 1080p rung needs about 40 MB' }, probe: { ...PROBE, video: [{ ...PROBE.video[0], rotation: 90 }], audio: [] } }),
];

test('an empty server says what to do', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  await page.getByRole('heading', { name: 'Drop a video anywhere on this page' }).waitFor();
  await page.getByRole('button', { name: 'Choose files' }).waitFor();
  await page.getByText('Running on PC (x86)').waitFor();
  await page.getByText('182 GB free').waitFor();
  await picture(page, 'empty');
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.getByRole('button', { name: 'Choose files' }).click()]);
  assert.ok(chooser.isMultiple());
});

test('the first asset takes the empty state away, the last one gone brings it back', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  const empty = page.getByRole('heading', { name: /Drop a video/ });
  await empty.waitFor();
  server.put(ready('one', 'clip.mp4'));
  await card(page, 'clip.mp4').waitFor();
  assert.equal(await empty.isVisible(), false);
  server.assets = [];
  server.send('removed', { id: 'one' });
  await empty.waitFor();
});

test('a card says what is in the file and has a chip for each board', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url);
  const one = card(page, 'Summer opening, final cut.mp4');
  await one.getByText('HEVC Main 10, 10-bit, HDR10').waitFor();
  await one.getByText('1920 × 1080, 29.97 fps').waitFor();
  await one.getByText('AAC stereo, 48 kHz').waitFor();
  await one.getByText('MP4, 7.4 MB, 4.2 Mb/s').waitFor();
  await one.getByText('Plays on 4 of 7 boards, 1 needs a render, 2 can’t play it').waitFor();
  const chips = await one.locator('.chip').evaluateAll((all) => all.map((chip) => [chip.dataset.board, chip.dataset.verdict, chip.querySelector('.chip-word').textContent, chip.querySelector('use').getAttribute('href')]));
  assert.deepEqual(chips, VERDICTS.map(({ board, verdict }) => [board, verdict, { plays: 'Plays', render: 'Needs a render', reject: 'Can’t play' }[verdict], `#i-${verdict}`]));
  await one.getByRole('button', { name: 'PC (x86): Plays, this machine. Show why.' }).getByText('this machine').waitFor();
  await card(page, 'lobby loop.mkv').getByText('Plays on all 7 boards').waitFor();
  await card(page, 'vertical story.mp4').getByText('1080 × 1920, 29.97 fps, turned 90°').waitFor();
  await picture(page, 'light', { fullPage: true });
});

test('a chip opens its reasons and the command, which can be copied', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
  const chip = card(page, 'Summer opening').getByRole('button', { name: /^Raspberry Pi 3: Can’t play/ });
  await chip.click();
  const sheet = page.getByRole('dialog', { name: 'Raspberry Pi 3: Can’t play' });
  await sheet.getByText('hevc is not among what the board decodes: h264').waitFor();
  await sheet.getByText('10 bit, the board decodes 8 bit').waitFor();
  await sheet.getByText('H.264 1080p30').waitFor();
  await picture(page, 'dialog');
  await sheet.getByRole('button', { name: 'Copy command' }).click();
  await sheet.getByText('Copied', { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), VERDICTS[1].command);
  await page.keyboard.press('Escape');
  assert.equal(await sheet.isVisible(), false);
  assert.ok(await chip.evaluate((element) => element === document.activeElement), 'the focus returns to the chip');
  await card(page, 'Summer opening').getByRole('button', { name: /^arm64 board: Needs a render/ }).click();
  await page.getByRole('dialog').getByText('H.264, 1920 × 1080, 29.97 fps').waitFor();
  await page.mouse.click(5, 5);
  assert.equal(await page.getByRole('dialog').count(), 0, 'a click outside closes it');
  await card(page, 'Summer opening').getByRole('button', { name: /^Raspberry Pi 5: Plays/ }).click();
  await page.getByRole('dialog').getByText(/own decoder handles it \(drm-copy\)/).waitFor();
});

test('without a clipboard, as on plain http from another machine, copying still works', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.evaluate(() => {
    globalThis.clipboard = navigator.clipboard;
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
  });
  await card(page, 'Summer opening').getByRole('button', { name: /^Raspberry Pi 2/ }).click();
  await page.getByRole('button', { name: 'Copy command' }).click();
  await page.getByText('Copied', { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => globalThis.clipboard.readText()), VERDICTS[0].command);
});

test('progress moves in place: the same elements, with the time left', async (t) => {
  const server = await canned([ready('two', 'lobby loop.mkv', { stream: running('two', 0.1) })]);
  const page = await open(t, browser, server.url);
  const bar = card(page, 'lobby loop.mkv').getByRole('progressbar');
  await page.getByText('Making the stream · 10 % · 7 s left · 1.9 × real time').waitFor();
  const before = await page.evaluateHandle(() => [...document.querySelectorAll('.asset *')]);
  server.put({ ...server.assets[0], stream: running('two', 0.8) });
  await page.getByText('Making the stream · 80 % · almost done · 1.9 × real time').waitFor();
  assert.equal(await bar.getAttribute('aria-valuenow'), '80');
  assert.ok(await page.evaluate((old) => old.every((element) => element.isConnected), before), 'nothing was built anew');
  await page.getByRole('status').getByText('lobby loop.mkv: 75 % of the stream is made').waitFor({ state: 'attached' });
  server.put({ ...server.assets[0], stream: done('two') });
  await page.getByText('Stream ready: 1080p, 720p, 360p').waitFor();
  assert.equal(await bar.isVisible(), false);
});

test('failures name the file, the reason and the way out', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url);
  const broken = card(page, 'not really a video.mp4');
  await broken.getByText('This file cannot be used. not really a video.mp4: no known container; the file begins like text. Remove it, or add a copy that plays elsewhere.').waitFor();
  await broken.getByRole('button', { name: 'Remove not really a video.mp4' }).waitFor();
  const full = card(page, 'vertical story.mp4');
  await full.getByText(/The stream was not made. vertical story.mp4: the disk is full/).waitFor();
  await full.scrollIntoViewIfNeeded();
  await picture(page, 'failed');
  await full.getByRole('button', { name: /vertical story/ }).getByText('Try the stream again').click();
  await expectSeen(page, server, 'PUT /api/assets/five/stream');
  await card(page, 'lobby loop.mkv').getByRole('button', { name: 'Stop making the stream of lobby loop.mkv' }).click();
  await expectSeen(page, server, 'DELETE /api/assets/two/stream');
});

test('removal asks first', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url);
  const remove = page.getByRole('button', { name: 'Remove lobby loop.mkv' });
  await remove.click();
  const dialog = page.getByRole('dialog', { name: 'Remove this video?' });
  await dialog.getByText('lobby loop.mkv').waitFor();
  assert.ok(await dialog.getByRole('button', { name: 'Keep it' }).evaluate((element) => element === document.activeElement), 'the harmless answer has the focus');
  await picture(page, 'remove');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  assert.ok(!server.seen.includes('DELETE /api/assets/two'));
  await remove.click();
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await card(page, 'lobby loop.mkv').waitFor({ state: 'detached' });
  assert.ok(server.seen.includes('DELETE /api/assets/two'));
  assert.equal(await card(page, 'Summer opening').count(), 1);
});

test('a removal that fails says so and keeps the video', async (t) => {
  const server = await canned(everything());
  server.fault = (method) => (method === 'DELETE' ? { status: 500, detail: 'the catalog is read-only' } : null);
  const page = await open(t, browser, server.url, { failing: true });
  await page.getByRole('button', { name: 'Remove lobby loop.mkv' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByRole('dialog').getByText('Not removed: the catalog is read-only.').waitFor();
  assert.equal(await card(page, 'lobby loop.mkv').count(), 1);
});

test('a lost connection is said, and what changed meanwhile is there after it', async (t) => {
  const server = await canned([ready('one', 'stays.mp4'), ready('two', 'goes.mp4')]);
  const page = await open(t, browser, server.url, { failing: true });
  await card(page, 'goes.mp4').waitFor();
  server.goDown();
  const banner = page.getByRole('alert').getByText(/connection to Kinora is lost/);
  await banner.waitFor();
  await picture(page, 'lost');
  server.assets = [ready('three', 'new.mp4'), ready('one', 'stays.mp4', { stream: done('one') })];
  server.goUp();
  await card(page, 'new.mp4').waitFor();
  await card(page, 'goes.mp4').waitFor({ state: 'detached' });
  await card(page, 'stays.mp4').getByText(/Stream ready/).waitFor();
  assert.equal(await banner.isVisible(), false);
});

test('a page that was too slow for the events reads the list again', async (t) => {
  const server = await canned([ready('one', 'clip.mp4')]);
  const page = await open(t, browser, server.url);
  await card(page, 'clip.mp4').waitFor();
  server.assets = [ready('two', 'missed.mp4')];
  server.send('resync', {});
  await card(page, 'missed.mp4').waitFor();
  await card(page, 'clip.mp4').waitFor({ state: 'detached' });
});

test('a list that cannot be read is tried again', async (t) => {
  const server = await canned([ready('one', 'clip.mp4')]);
  let refusals = 2;
  server.fault = (_, path) => {
    if (path !== '/api/assets' || refusals === 0) return null;
    refusals -= 1;
    return 503;
  };
  const page = await open(t, browser, server.url, { failing: true });
  await card(page, 'clip.mp4').waitFor();
  assert.equal(refusals, 0);
});

test('a hostile name is text and nothing else, and breaks no layout', async (t) => {
  const server = await canned([ready('one', HOSTILE, { stream: done('one') })]);
  const page = await open(t, browser, server.url, PHONE);
  const name = page.locator('.asset .name bdi');
  await name.waitFor();
  assert.equal(await name.evaluate((element) => element.textContent), HOSTILE.replace(/[\n\u202E]/g, '\uFFFD'), 'marks that hide what a name says are shown');
  assert.equal(await page.locator('.asset img[src="x"]').count(), 0);
  assert.equal(await page.title(), 'Kinora');
  assert.equal(await sideways(page), 0);
  await page.locator('.chip').first().click();
  assert.equal(await sideways(page), 0);
  await page.keyboard.press('Escape');
  await page.locator('.button.danger').click();
  await page.getByRole('dialog').waitFor();
  assert.equal(await sideways(page), 0);
  await picture(page, 'hostile');
  assert.equal(await page.title(), 'Kinora');
});

test('the keyboard alone is enough', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url);
  await card(page, 'vertical story.mp4').waitFor();
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    return { name: element.getAttribute('aria-label') ?? element.textContent, outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
  });
  const stops = [];
  for (let i = 0; i < 12; i += 1) {
    await page.keyboard.press('Tab');
    const at = await focused();
    assert.ok(at.outlined, `the focus shows on: ${at.name}`);
    stops.push(at.name);
  }
  assert.deepEqual(stops.slice(0, 8), [
    'Skip to the videos', 'Add videos', 'Play Summer opening, final cut.mp4', 'Play Summer opening, final cut.mp4', 'Copy the stream address of Summer opening, final cut.mp4',
    'Download the original of Summer opening, final cut.mp4', 'Remove Summer opening, final cut.mp4', 'Raspberry Pi 2: Can’t play. Show why.',
  ]);
  await page.keyboard.press('Enter');
  const sheet = page.getByRole('dialog');
  await sheet.waitFor();
  for (let i = 0; i < 6; i += 1) {
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.querySelector('dialog[open]').contains(document.activeElement)), 'the focus stays in the sheet');
  }
  await page.keyboard.press('Escape');
  await sheet.waitFor({ state: 'hidden' });
  assert.equal((await focused()).name, stops.at(-1));
  await page.reload();
  await card(page, 'vertical story.mp4').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'library');
});

for (const [name, options] of [['desktop', {}], ['phone', PHONE]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${name}, ${colorScheme}: every text can be read and every control can be hit`, async (t) => {
      const server = await canned(everything());
      const page = await open(t, browser, server.url, { ...options, colorScheme });
      await card(page, 'vertical story.mp4').waitFor();
      await page.waitForFunction(() => [...document.querySelectorAll('.picture img')].slice(0, 1).every((image) => image.complete));
      assert.deepEqual(await faintText(page), []);
      assert.deepEqual(await smallTargets(page), []);
      assert.equal(await sideways(page), 0);
      await picture(page, `${name}-${colorScheme}`, { fullPage: true });
      await page.locator('.chip').first().click();
      assert.deepEqual(await faintText(page), []);
      assert.deepEqual(await smallTargets(page), []);
      await picture(page, `${name}-${colorScheme}-dialog`);
    });
  }
}

test('who asked for less motion gets none', async (t) => {
  const server = await canned(everything());
  const still = await open(t, browser, server.url, { reducedMotion: 'reduce' });
  await card(still, 'phone, just sent.mov').waitFor();
  assert.equal(await still.evaluate(() => document.getAnimations().length), 0);
  const moving = await open(t, browser, server.url, { reducedMotion: 'no-preference' });
  await card(moving, 'phone, just sent.mov').waitFor();
  assert.notEqual(await moving.evaluate(() => document.getAnimations().length), 0);
});

test('dragging files shows where they may go; dragging text does not', async (t) => {
  const server = await canned(everything());
  const page = await open(t, browser, server.url);
  await card(page, 'lobby loop.mkv').waitFor();
  const drag = (type, file) => page.evaluate(([name, withFile]) => {
    const data = new DataTransfer();
    if (withFile) data.items.add(new File(['x'], 'x.mp4'));
    else data.setData('text/plain', 'x');
    document.querySelector('.asset').dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
  }, [type, file]);
  const overlay = page.getByText('Drop to add to Kinora');
  await drag('dragenter', false);
  assert.equal(await overlay.isVisible(), false);
  await drag('dragenter', true);
  assert.equal(await overlay.isVisible(), true);
  await picture(page, 'drop');
  await drag('dragleave', true);
  assert.equal(await overlay.isVisible(), false);
});

/** Waits until the server has seen a request: the page's own request may be on its way still. */
async function expectSeen(page, server, request) {
  if (server.seen.includes(request)) return;
  await page.waitForResponse((response) => `${response.request().method()} ${new URL(response.url()).pathname}` === request);
}
