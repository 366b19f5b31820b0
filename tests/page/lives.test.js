// Live streams on the page: the states of the list and the form from canned answers, then a
// source on the network, a server that takes it, and a picture that is watched while it goes on.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { faintText, launch, open, picture, sideways, smallTargets } from './browser.js';
import { Canned, live, ready } from './canned.js';
import { BIN, Kinora } from './kinora.js';
import { watchPlayer } from './watch.js';

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const REFUSED = 'rtsp://hall.lan: connecting failed: Connection refused; trying again';
const skip = BIN ? false : 'KINORA_BIN names no kinora to test';
/** Encoding in an unoptimised build on a busy machine. */
const LONG = { timeout: 240_000 };

let browser;
let folder;
const servers = [];
const sources = [];
before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-lives-'));
  for (const name of ['gate', 'talk', 'made']) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'master.m3u8'), '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720\n720p/playlist.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360\n360p/playlist.m3u8\n');
  }
});
after(async () => {
  await browser.close();
  for (const server of servers) await server.close();
  for (const source of sources) source.kill('SIGKILL');
  await rm(folder, { recursive: true });
});

async function canned(...lives) {
  const server = await new Canned().start();
  server.lives = lives;
  server.streams = folder;
  servers.push(server);
  return server;
}

const everything = () => [
  live('gate', { window_s: 60, low_latency: true }),
  live('hall', { source: 'rtsp://hall.lan', url: null, media_s: 0, waiting: REFUSED }),
  live('roof', { source: 'srt://roof.lan:9000', url: null, media_s: null }),
  live('yard', { state: 'waiting', source: 'srt://yard.lan:9000', url: null, media_s: null }),
  live('talk', { state: 'ended', media_s: null, created: '2026-11-19T08:00:00Z' }),
  live('made', { state: 'stored', created: null, source: null, media_s: null }),
];
const card = (page, name) => page.getByRole('article', { name, exact: true });
const add = (page) => page.getByRole('button', { name: 'Add a live source' });
const form = (page) => page.getByRole('dialog', { name: 'Add a live source' });

test('without a live stream there is a quiet line and a way to add one', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  await page.getByRole('heading', { name: 'Live streams' }).waitFor();
  await page.getByText(/^None\. A camera or an encoder/).waitFor();
  await picture(page, 'lives-none');
  const under = await page.evaluate(() => document.querySelector('#empty').getBoundingClientRect().bottom <= document.querySelector('#lives').getBoundingClientRect().top);
  assert.ok(under, 'it stands below what the page is for');
  server.putLive(live('gate'));
  await card(page, 'gate').waitFor();
  assert.equal(await page.getByText(/^None\./).isVisible(), false);
  const above = await page.evaluate(() => document.querySelector('#lives').getBoundingClientRect().bottom <= document.querySelector('#empty').getBoundingClientRect().top);
  assert.ok(above, 'what is live is seen first');
});

test('each stream says where it stands, from where, since when, and at which resolutions', async (t) => {
  const server = await canned(...everything());
  const page = await open(t, browser, server.url, { timezoneId: 'UTC' });
  const says = async (name, ...texts) => {
    for (const text of texts) await card(page, name).getByText(text).first().waitFor();
  };
  await says('gate', 'Live', 'for 12:05', 'rtsp://camera.lan', /^(20 Nov, )?12:00$/, '720p 2.5 Mb/s, 360p 900 kb/s', 'can go back 1 min, low latency');
  await says('hall', 'No picture comes', 'rtsp://hall.lan: connecting failed: Connection refused. The server tries again by itself. See whether the source sends and the address is right; to change it, remove this stream and add it again.');
  await says('roof', 'Connecting to the source', 'can go back to the beginning');
  await says('yard', 'Waiting', /for its turn/);
  await says('talk', 'Ended', 'and can be watched as a whole', /19 Nov, 08:00/);
  await says('made', 'Stored', 'by kinora ladder');
  const names = await page.locator('.stream h3').allTextContents();
  assert.deepEqual(names, ['gate', 'hall', 'roof', 'yard', 'talk', 'made'], 'newest first, what has no date last');
  const offers = async (name) => (await card(page, name).getByRole('button').allTextContents()).join(', ');
  assert.equal(await offers('gate'), 'Play, Copy stream address, Stop, Remove');
  assert.equal(await offers('hall'), 'Stop, Remove');
  assert.equal(await offers('talk'), 'Play, Copy stream address, Remove');
});

test('events keep the list true, in place', async (t) => {
  const server = await canned(live('gate', { url: null, media_s: null }));
  const page = await open(t, browser, server.url, { failing: true });
  await card(page, 'gate').getByText('Connecting to the source').waitFor();
  const before = await page.evaluateHandle(() => [...document.querySelectorAll('.stream, .stream button, .stream h3')]);
  server.putLive(live('gate', { media_s: 61 }));
  await card(page, 'gate').getByText('for 1:01').waitFor();
  await card(page, 'gate').getByText('720p 2.5 Mb/s, 360p 900 kb/s').waitFor();
  await page.getByRole('status').getByText('gate: Live').waitFor({ state: 'attached' });
  server.putLive(live('gate', { media_s: 61, waiting: 'gate: the disk is full (9 MB left to take); it goes on when there is room' }));
  await card(page, 'gate').getByText('The disk is full (9 MB left to take); it goes on when there is room. Remove something, or give the disk more room.').waitFor();
  await page.getByRole('status').getByText(/^gate: The disk is full/).waitFor({ state: 'attached' });
  assert.ok(await page.evaluate((old) => old.every((element) => element.isConnected), before), 'nothing was built anew');
  // What changed while the page was away is there when it is back.
  server.goDown();
  await page.getByRole('alert').getByText(/connection to Kinora is lost/).waitFor();
  server.lives = [live('talk', { state: 'ended' })];
  server.goUp();
  await card(page, 'talk').waitFor();
  await card(page, 'gate').waitFor({ state: 'detached' });
  server.putLive(live('talk', { state: 'cancelled' }));
  server.send('removed', { id: 'talk' });
  await page.getByText(/^None\./).waitFor();
});

test('a source that falls silent is said, and so is its return', async (t) => {
  const server = await canned(live('gate'));
  const page = await open(t, browser, server.url);
  await page.clock.install();
  await page.reload();
  await card(page, 'gate').getByText('Live', { exact: true }).waitFor();
  await page.clock.runFor(11_000);
  await card(page, 'gate').getByText(/Nothing has come from the source for a while/).waitFor();
  server.putLive(live('gate', { media_s: 726 }));
  await card(page, 'gate').getByText('Live', { exact: true }).waitFor();
});

test('the form says what is wrong at its field, and adds what is right', async (t) => {
  const server = await canned(live('gate'));
  const page = await open(t, browser, server.url, { failing: true });
  await add(page).click();
  const address = form(page).getByLabel('Address');
  const name = form(page).getByLabel('Name', { exact: true });
  assert.ok(await address.evaluate((element) => element === document.activeElement));
  await page.keyboard.press('Enter');
  await form(page).getByText('It begins with rtsp://, rtsps://, rtmp://, rtmps:// or srt://.').waitFor();
  await form(page).getByText('Letters, digits, - _ and . only, 64 at most.').waitFor();
  assert.equal(await address.getAttribute('aria-invalid'), 'true');
  await picture(page, 'source-wrong');
  assert.deepEqual(server.asked, [], 'nothing is sent that cannot be right');
  await address.fill('srt://user:word@encoder.lan:9000');
  await name.fill('gate');
  await form(page).getByText('/streams/gate/master.m3u8').waitFor();
  await form(page).getByRole('button', { name: 'Add' }).click();
  await form(page).getByText('gate is another stream’s name. Take a new one, or remove that stream first.').waitFor();
  assert.ok(await name.evaluate((element) => element === document.activeElement));
  await name.fill('stage');
  await form(page).getByLabel('Viewers can go back').selectOption('10 minutes');
  await form(page).getByLabel('Low latency').check();
  server.fault = (method) => (method === 'POST' ? { status: 500, detail: 'the catalog is read-only' } : null);
  await form(page).getByRole('button', { name: 'Add' }).click();
  await form(page).getByRole('alert').getByText('Not added: the catalog is read-only. Change it and try again.').waitFor();
  await picture(page, 'source-refused');
  server.fault = () => null;
  await page.keyboard.press('Enter');
  await card(page, 'stage').getByText('for its turn').waitFor();
  await form(page).waitFor({ state: 'hidden' });
  assert.ok(await card(page, 'stage').getByRole('heading').evaluate((element) => element === document.activeElement), 'the new one has the focus');
  assert.deepEqual(server.asked.at(-1), { name: 'stage', source: 'srt://user:word@encoder.lan:9000', window_s: 600, low_latency: true });
});

test('a stream is ended and removed after a question', async (t) => {
  const server = await canned(live('gate'));
  const page = await open(t, browser, server.url, { failing: true });
  await page.getByRole('button', { name: 'Stop gate' }).click();
  const dialog = page.getByRole('dialog', { name: 'End this stream?' });
  assert.ok(await dialog.getByRole('button', { name: 'Let it go on' }).evaluate((element) => element === document.activeElement), 'the harmless answer has the focus');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Stop gate' }).click();
  await dialog.getByRole('button', { name: 'End it' }).click();
  await card(page, 'gate').getByText('Ending').waitFor();
  assert.deepEqual(server.seen.filter((line) => line.startsWith('END')), ['END gate']);
  server.putLive(live('gate', { state: 'ended' }));
  await card(page, 'gate').getByText('and can be watched as a whole').waitFor();
  server.fault = (method) => (method === 'DELETE' ? { status: 500, detail: 'the catalog is read-only' } : null);
  await page.getByRole('button', { name: 'Remove gate' }).click();
  const remove = page.getByRole('dialog', { name: 'Remove this stream?' });
  await remove.getByRole('button', { name: 'Remove' }).click();
  await remove.getByText('Not removed: the catalog is read-only.').waitFor();
  server.fault = () => null;
  await remove.getByRole('button', { name: 'Remove' }).click();
  await page.getByText(/^None\./).waitFor();
});

for (const [name, options] of [['desktop', {}], ['phone', PHONE]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${name}, ${colorScheme}: live streams and their form can be read and hit`, async (t) => {
      const server = await canned(...everything());
      server.assets = [ready('one', 'clip.mp4')];
      server.thumbnail = Buffer.from('/9j/2Q==', 'base64');
      const page = await open(t, browser, server.url, { ...options, colorScheme });
      await card(page, 'gate').getByText(/720p/).waitFor();
      const check = async (what) => {
        assert.deepEqual(await faintText(page), []);
        assert.deepEqual(await smallTargets(page), []);
        assert.equal(await sideways(page), 0);
        await picture(page, `lives-${name}-${colorScheme}${what}`, { fullPage: !what });
      };
      await check('');
      await add(page).click();
      await page.keyboard.press('Enter');
      await check('-form');
    });
  }
}

/** An encoder on the network: waits for whoever calls and sends as fast as it is seen. */
async function source(port) {
  const child = spawn('ffmpeg', ['-v', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25:duration=600', '-re', '-f', 'lavfi', '-i', 'sine=duration=600',
    ...'-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac -f mpegts'.split(' '), `srt://127.0.0.1:${port}?mode=listener`], { stdio: 'ignore' });
  sources.push(child);
  return child;
}

async function freePort() {
  const socket = createSocket('udp4');
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

async function serve() {
  const server = await Kinora.start();
  servers.push(server);
  return server;
}

async function addSource(page, name, port, choose = async () => {}) {
  await add(page).click();
  await form(page).getByLabel('Address').fill(`srt://127.0.0.1:${port}`);
  await form(page).getByLabel('Name', { exact: true }).fill(name);
  await choose(form(page));
  await form(page).getByRole('button', { name: 'Add' }).click();
}

/** Waits until a playlist names so many segments. */
async function segments(server, rung, count) {
  for (;;) {
    const playlist = await (await fetch(new URL(`/streams/${rung}/playlist.m3u8`, server.url))).text();
    if (playlist.split('#EXTINF').length > count) return;
    await setTimeout(250);
  }
}

const media = (page, what, arg = null) => page.waitForFunction(what, arg, { polling: 'raf', timeout: 120_000 });
const behind = (page) => page.evaluate(() => document.querySelector('.seek').max - document.querySelector('video').currentTime);
/** Waits for a tile above the seek bar. */
const shownTile = (page) => page.waitForFunction(() => {
  const tile = document.querySelector('.tile');
  return !tile.closest('[hidden]') && !tile.hidden && tile.style.backgroundImage;
}, null, { timeout: 60_000 });

test('a source on the network is added, watched at its edge, searched, ended and removed', { skip, ...LONG }, async (t) => {
  const server = await serve();
  const port = await freePort();
  const encoder = await source(port);
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  await addSource(page, 'gate', port);
  const gate = card(page, 'gate');
  await gate.getByText('Live', { exact: true }).waitFor({ timeout: 60_000 });
  await gate.getByText(/^180p \d/).waitFor();
  await gate.getByText(`srt://127.0.0.1:${port}`).waitFor();
  // Some past to go back to.
  await segments(server, 'gate/180p', 6);
  await page.getByRole('button', { name: 'Play gate' }).click();
  await media(page, () => globalThis.watched.starts.length > 0);
  assert.ok((await player.starts())[0] > 2, 'it starts at the edge and not at the beginning');
  assert.equal(await gate.getByRole('button', { name: 'Live', exact: true }).getAttribute('aria-disabled'), 'true');

  // Thumbnails of what is past, by the mouse.
  const bar = page.getByRole('slider', { name: 'Position' });
  const box = await bar.boundingBox();
  await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2);
  await shownTile(page);
  await page.getByText(/^−0:\d\d$/).waitFor();
  await picture(page, 'live-playing');
  await page.mouse.click(box.x + 12, box.y + box.height / 2);
  await media(page, () => document.querySelector('video').currentTime < 5 && !document.querySelector('video').seeking);
  await gate.getByText(/^0:\d\d behind$/).waitFor();
  await gate.getByRole('button', { name: 'Back to live' }).click();
  await gate.getByRole('button', { name: 'Live', exact: true }).waitFor();
  assert.ok(await behind(page) < 4);

  // The source goes away and comes back: the picture waits for it and goes on.
  encoder.kill('SIGKILL');
  await page.locator('.player-note').getByText(/Nothing more has come yet/).waitFor({ timeout: 60_000 });
  const at = await page.evaluate(() => document.querySelector('video').currentTime);
  await picture(page, 'live-silent');
  await source(port);
  await media(page, (then) => document.querySelector('video').currentTime > then + 4, at);
  assert.deepEqual(await player.errors(), []);

  await gate.getByRole('button', { name: 'Stop gate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
  await gate.getByText('and can be watched as a whole').waitFor({ timeout: 60_000 });
  await media(page, () => document.querySelector('video').ended);
  assert.deepEqual(await player.errors(), []);
  await gate.getByRole('button', { name: 'Remove gate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByText(/^None\./).waitFor();
  assert.equal(await page.locator('video').count(), 0);
  assert.deepEqual(await server.json('/api/streams'), []);
});

test('a low-latency stream is watched part by part, as each is made', { skip, ...LONG }, async (t) => {
  const server = await serve();
  const port = await freePort();
  await source(port);
  const page = await open(t, browser, server.url);
  const player = await watchPlayer(page);
  const asked = [];
  const parts = new Set();
  page.on('response', async (response) => {
    asked.push(response.url());
    if (!/playlist\.m3u8/.test(response.url())) return;
    // A page that is closed takes its answers with it.
    const playlist = await response.text().catch(() => '');
    for (const [, part] of playlist.matchAll(/^#EXT-X-PART:.*URI="([^"]+)"/gm)) parts.add(new URL(part, response.url()).href);
  });
  await addSource(page, 'quick', port, (sheet) => sheet.getByLabel('Low latency').check());
  await page.getByRole('button', { name: 'Play quick' }).click({ timeout: 60_000 });
  await media(page, () => document.querySelector('video').currentTime > 12);
  assert.ok(asked.some((url) => /[?&]_HLS_part=/.test(url)), 'it waits for the next part');
  const taken = asked.filter((url) => parts.has(url)).length;
  assert.ok(taken > 5, `${taken} parts of ${parts.size} were taken`);
  assert.deepEqual(await player.errors(), []);
});

test('an address that does not answer says so, and so does a name that is taken', { skip, ...LONG }, async (t) => {
  const server = await serve();
  const page = await open(t, browser, server.url, { failing: true });
  const nobody = (name) => addSource(page, name, 1, (sheet) => sheet.getByLabel('Address').fill('rtsp://127.0.0.1:1/secret?key=word'));
  await nobody('nobody');
  await card(page, 'nobody').getByText(/^rtsp:\/\/127\.0\.0\.1:1: connecting failed: .*\. The server tries again by itself\./).waitFor({ timeout: 60_000 });
  await picture(page, 'live-refused');
  assert.ok(!(await page.content()).includes('secret'), 'what is secret of the address is shown to nobody');
  await addSource(page, 'nobody', 2);
  await form(page).getByText(/^nobody is another stream’s name/).waitFor();
});
