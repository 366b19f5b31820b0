// Signing in on the page of the real server, being signed out elsewhere while a file is on its way,
// and answering a device that shows a code.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, picture } from './browser.js';
import { BIN, Kinora } from './kinora.js';
import { watchPlayer } from './watch.js';

const skip = BIN ? false : 'KINORA_BIN names no kinora to test';
const LONG = { timeout: 120_000 };

let browser;
let folder;
let server;
before(async () => {
  if (skip) return;
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-page-'));
  server = await Kinora.start('--login', '--no-streams');
});
after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

const kinora = (...args) => execFileSync(BIN, [...args, '--data', server.data], { encoding: 'utf8' });
const made = (role, name) => JSON.parse(kinora('token', 'create', '--role', role, '--name', name, '--json'));

async function signIn(page, secret) {
  await page.getByLabel('Token').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

test('the first token signs in, a wrong one does not, and signing out ends it', { skip, ...LONG }, async (t) => {
  const page = await open(t, browser, server.url, { failing: true });
  const first = /kinora_\S+/.exec(server.said)[0];
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('#library').isVisible(), false);
  assert.equal(await page.getByRole('button', { name: 'Add videos' }).isVisible(), false);
  await picture(page, 'sign-in');
  await signIn(page, 'kinora_wrong');
  await page.getByText('Not signed in: no such token here').waitFor();
  await signIn(page, made('player', 'a screen').secret);
  await page.getByText('Not signed in: this token is a screen’s').waitFor();
  await signIn(page, first);
  await page.locator('#empty').waitFor();
  assert.equal(await page.locator('#sign-in').isVisible(), false);
  // The session is out of every script's reach.
  assert.equal(await page.evaluate(() => document.cookie), '');
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ['kinora_session', true, 'Strict']);
  // It holds over a reload, and no longer than until it is ended.
  await page.reload();
  await page.locator('#empty').waitFor();
  await page.getByRole('button', { name: 'Sign out first admin' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal((await page.request.get(`${server.url}api/assets`)).status(), 401);
});

test('a file on its way when the token is revoked goes on after the next sign-in', { skip, ...LONG }, async (t) => {
  const file = join(folder, 'long.mp4');
  await writeFile(file, randomBytes(20 * 1024 * 1024));
  const page = await open(t, browser, server.url, { failing: true });
  const token = made('editor', 'Anna');
  await signIn(page, token.secret);
  await page.locator('#empty').waitFor();
  // The first piece arrives, and the second finds nobody signed in.
  let pieces = 0;
  await page.route('**/api/uploads/*', async (route) => {
    if (route.request().method() === 'PATCH' && (pieces += 1) === 2) kinora('token', 'rm', token.id);
    await route.continue();
  });
  await page.locator('#files').setInputFiles(file);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('#library').isVisible(), false);
  await signIn(page, made('editor', 'Anna again').secret);
  await page.locator('.asset').filter({ hasText: 'long.mp4' }).waitFor({ timeout: 60_000 });
  assert.equal(pieces >= 3, true);
});

test('an admin answers a device that shows a code', { skip, ...LONG }, async (t) => {
  const ask = (path, fields) => fetch(new URL(path, server.url), { method: 'POST', body: new URLSearchParams({ client_id: 'test', ...fields }) });
  const begun = await (await ask('api/device/code', { name: 'screen in the hall', board: 'pi4-64' })).json();
  const poll = async () => (await ask('api/device/token', { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: begun.device_code })).json();

  const page = await open(t, browser, begun.verification_uri_complete);
  await signIn(page, made('admin', 'Otto').secret);
  // The code in the address is looked up at once, and nothing is allowed by that.
  await page.getByText('asks to be player, a pi4-64').waitFor();
  await picture(page, 'device');
  await page.getByRole('button', { name: 'Allow' }).click();
  await page.getByText('screen in the hall gets its token').waitFor();
  const granted = await poll();
  assert.equal(granted.scope, 'player');
  const status = await fetch(new URL('api/status', server.url), { headers: { authorization: `Bearer ${granted.access_token}` } });
  assert.equal(status.status, 200);

  // A new token is shown once, and both stand in the list; one is revoked.
  await page.getByLabel('Whose it is').fill('Berta');
  await page.getByLabel('What it allows').selectOption('editor');
  await page.getByRole('button', { name: 'Make it' }).click();
  const secret = await page.locator('.secret').textContent();
  assert.match(secret, /^kinora_[\w-]{43}$/);
  await page.getByRole('button', { name: 'Revoke screen in the hall' }).click();
  await page.locator('#confirm').getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('button', { name: 'Revoke screen in the hall' }).waitFor({ state: 'detached' });
  const after = await fetch(new URL('api/status', server.url), { headers: { authorization: `Bearer ${granted.access_token}` } });
  assert.equal(after.status, 401);
  await picture(page, 'access');
});

test('a playlist is put together, saved and kept over a reload', { skip, ...LONG }, async (t) => {
  const page = await open(t, browser, server.url);
  await signIn(page, made('editor', 'Paula').secret);
  await page.locator('.asset').filter({ hasText: 'long.mp4' }).waitFor();
  const sheet = page.locator('#playlists');
  const show = () => page.getByRole('button', { name: 'Playlists' }).click();
  await show();
  await sheet.getByText('Nothing yet.').waitFor();
  for (let i = 0; i < 2; i += 1) await sheet.getByRole('button', { name: 'Add to the playlist' }).click();
  await sheet.locator('summary').first().click();
  await sheet.getByLabel('First day').first().fill('2026-12-01');
  await sheet.getByLabel('Fr', { exact: true }).first().check();
  await picture(page, 'playlist');
  await sheet.getByRole('button', { name: 'Save' }).click();
  await sheet.getByText('Saved.', { exact: true }).waitFor();
  await sheet.getByText('from 2026-12-01, Fr').waitFor();
  await page.reload();
  await show();
  await sheet.getByText('from 2026-12-01, Fr').waitFor();
  assert.equal(await sheet.locator('.item').count(), 2);
  await sheet.getByRole('button', { name: 'Move long.mp4 down' }).first().click();
  assert.deepEqual(await sheet.locator('summary').allTextContents(), ['Always', 'from 2026-12-01, Fr']);
  // An editor makes no tokens.
  assert.equal(await page.getByRole('button', { name: 'Screens and tokens' }).count(), 0);
});

test('an address in a private network is not fetched, and the page says why', { skip, ...LONG }, async (t) => {
  const page = await open(t, browser, server.url);
  await signIn(page, made('editor', 'Rita').secret);
  await page.getByRole('button', { name: 'Fetch a file' }).click();
  await page.getByLabel('Address of the file').fill('http://127.0.0.1:9/clip.mp4');
  await page.getByRole('button', { name: 'Fetch', exact: true }).click();
  const row = page.locator('#remotes .transfer').filter({ hasText: 'clip.mp4' });
  await row.getByText('Not fetched: 127.0.0.1 is on this machine').waitFor();
  await picture(page, 'remote');
  await row.getByRole('button', { name: 'Remove' }).click();
  await page.locator('#confirm').getByRole('button', { name: 'Stop' }).click();
  await row.waitFor({ state: 'detached' });
});

test('a stream plays for who is signed in, and for nobody else', { skip, ...LONG }, async (t) => {
  const clip = join(folder, 'clip.mp4');
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=s=640x360:r=25:d=8', '-f', 'lavfi', '-i', 'sine=d=8',
    '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac', clip]);
  const { secret } = made('editor', 'Vera');
  const ask = (path, options = {}) => fetch(new URL(path, server.url), { headers: { authorization: `Bearer ${secret}` }, ...options });
  const { id } = await (await ask('api/assets?name=clip.mp4', { method: 'POST', body: await readFile(clip) })).json();
  const page = await open(t, browser, server.url);
  await signIn(page, secret);
  const row = page.locator('.asset').filter({ hasText: 'clip.mp4' });
  await row.getByText('640 × 360, 25 fps').waitFor();
  assert.equal((await ask(`api/assets/${id}/stream`, { method: 'PUT' })).status, 200);
  await page.locator('.asset[data-stream="done"]').filter({ hasText: 'clip.mp4' }).waitFor({ timeout: 60_000 });
  const player = await watchPlayer(page);
  await page.getByRole('button', { name: 'Play clip.mp4' }).last().click();
  await page.waitForFunction(() => document.querySelector('video')?.currentTime > 2, null, { polling: 'raf' });
  assert.deepEqual(await player.errors(), []);
  assert.equal((await ask(`streams/${id}/master.m3u8`)).status, 200);
  assert.equal((await ask(`streams/${id}/master.m3u8`, { headers: {} })).status, 401);
});
