// Uploads against canned answers: how far and how long, what a lost connection, a
// reload, a full disk and a cancel do, and that every byte arrives once and in order.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, picture, sideways } from './browser.js';
import { Canned } from './canned.js';

const MB = 1024 * 1024;
let browser;
let folder;
const servers = [];
before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), 'kinora-page-'));
});
after(async () => {
  await browser.close();
  for (const server of servers) await server.close();
  await rm(folder, { recursive: true });
});

async function canned() {
  const server = await new Canned().start();
  servers.push(server);
  return server;
}

async function make(name, size) {
  const bytes = randomBytes(size);
  const path = join(folder, name);
  await writeFile(path, bytes);
  return { path, sum: sumOf([bytes]) };
}

const sumOf = (pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash('sha256')).digest('hex');
const choose = (page, ...files) => page.setInputFiles('#files', files.map(({ path }) => path));
const row = (page, name) => page.locator('.transfer').filter({ hasText: name });
const card = (page, name) => page.locator('.asset').filter({ hasText: name });

test('a picked file is sent in pieces, shown on its way, and becomes a card', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  const file = await make('clip.mp4', 20 * MB);
  server.holdUploadsAt = 9 * MB;
  await choose(page, file);
  const bar = row(page, 'clip.mp4').getByRole('progressbar', { name: 'Upload of clip.mp4' });
  // The first piece has 8 MiB of 20.
  await page.waitForFunction(() => Number(document.querySelector('.transfer .bar')?.getAttribute('aria-valuenow')) >= 40);
  assert.ok(Number(await bar.getAttribute('aria-valuenow')) < 100);
  await row(page, 'clip.mp4').getByText(/ of 21\.0 MB/).waitFor();
  await picture(page, 'uploading');
  server.release();
  await card(page, 'clip.mp4').waitFor();
  assert.equal(await row(page, 'clip.mp4').count(), 0);
  assert.equal(sumOf(server.uploads.get('1').got), file.sum);
  assert.equal(server.seen.filter((line) => line.startsWith('PATCH')).length, 3);
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), [], 'nothing is left to resume');
});

test('dropped files are sent, wherever on the page they fall', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(['first'], 'first.mp4'));
    data.items.add(new File(['second'], 'second.mkv'));
    document.querySelector('footer').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  });
  await card(page, 'first.mp4').waitFor();
  await card(page, 'second.mkv').waitFor();
  assert.deepEqual([...server.uploads.values()].map(({ got }) => Buffer.concat(got).toString()).sort(), ['first', 'second']);
});

test('a connection that drops in the middle continues where it stopped', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  const file = await make('dropped.mp4', 12 * MB);
  server.cutAfter = 3 * MB;
  await choose(page, file);
  await card(page, 'dropped.mp4').waitFor();
  assert.equal(sumOf(server.uploads.get('1').got), file.sum);
  assert.ok(server.seen.includes('HEAD /api/uploads/1'), 'it asked how much arrived');
  assert.equal(server.seen.filter((line) => line === 'POST /api/uploads').length, 1, 'it was not begun again');
});

test('a network that is gone for a while pauses, says so, and goes on by itself', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  const file = await make('patient.mp4', 12 * MB);
  server.holdUploadsAt = 2 * MB;
  await choose(page, file);
  await page.waitForFunction(() => Number(document.querySelector('.transfer .bar')?.getAttribute('aria-valuenow')) > 5);
  await page.context().setOffline(true);
  await row(page, 'patient.mp4').getByText(/Connection lost. Continues by itself/).waitFor();
  await page.getByRole('alert').getByText(/connection to Kinora is lost/).waitFor();
  await picture(page, 'offline');
  server.release();
  await page.context().setOffline(false);
  await card(page, 'patient.mp4').waitFor();
  assert.equal(sumOf(server.uploads.get('1').got), file.sum);
});

test('after a reload the unfinished upload is offered, and choosing the file continues it', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  const file = await make('reloaded.mp4', 20 * MB);
  server.holdUploadsAt = 9 * MB;
  await choose(page, file);
  await page.waitForFunction(() => Number(document.querySelector('.transfer .bar')?.getAttribute('aria-valuenow')) >= 40);
  await page.reload();
  server.release();
  await row(page, 'reloaded.mp4').getByText(/^Interrupted with .* of 21.0 MB sent/).waitFor();
  await picture(page, 'interrupted');
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), row(page, 'reloaded.mp4').getByRole('button', { name: 'Choose the file' }).click()]);
  await chooser.setFiles(file.path);
  await card(page, 'reloaded.mp4').waitFor();
  assert.equal(sumOf(server.uploads.get('1').got), file.sum);
  assert.equal(server.uploads.size, 1, 'it was not begun again');
});

test('an unfinished upload can be discarded', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  server.holdUploadsAt = 9 * MB;
  await choose(page, await make('discarded.mp4', 20 * MB));
  await page.waitForFunction(() => Number(document.querySelector('.transfer .bar')?.getAttribute('aria-valuenow')) >= 40);
  await page.reload();
  server.release();
  await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'DELETE'),
    row(page, 'discarded.mp4').getByRole('button', { name: 'Discard' }).click(),
  ]);
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  assert.equal(server.uploads.size, 0);
});

test('an upload the server forgot begins again', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  const file = await make('forgotten.mp4', 2 * MB);
  server.cutAfter = MB;
  let forgotten = false;
  server.fault = (method) => {
    if (method === 'HEAD' && !forgotten) {
      forgotten = true;
      return 404;
    }
    return null;
  };
  await choose(page, file);
  await card(page, 'forgotten.mp4').waitFor();
  assert.equal(sumOf(server.uploads.get('2').got), file.sum);
});

test('a full disk is said with the file and the reason, and can be tried again', async (t) => {
  const server = await canned();
  server.fault = (method, path) => (method === 'PATCH' && path.startsWith('/api/uploads') ? { status: 507, detail: 'the disk is full: 12 MB are free, the file needs 21 MB' } : null);
  const page = await open(t, browser, server.url, { failing: true, viewport: { width: 360, height: 740 } });
  const file = await make('large.mp4', 2 * MB);
  await choose(page, file);
  await row(page, 'large.mp4').getByText('Not uploaded: the disk is full: 12 MB are free, the file needs 21 MB.').waitFor();
  assert.equal(await sideways(page), 0);
  await picture(page, 'full');
  server.fault = () => null;
  await row(page, 'large.mp4').getByRole('button', { name: 'Try large.mp4 again' }).click();
  await card(page, 'large.mp4').waitFor();
  assert.equal(sumOf(server.uploads.get('1').got), file.sum);
});

test('a file over the server’s limit is refused before a byte is sent', async (t) => {
  const server = await canned();
  server.status.max_upload = MB;
  const page = await open(t, browser, server.url);
  await page.getByText('files up to 1.0 MB').waitFor();
  await choose(page, await make('over.mp4', 2 * MB));
  await row(page, 'over.mp4').getByText('Not uploaded: it has 2.1 MB and this server takes at most 1.0 MB.').waitFor();
  assert.equal(await row(page, 'over.mp4').getByText('Try again').isVisible(), false, 'nothing is offered that cannot help');
  await row(page, 'over.mp4').getByRole('button', { name: 'Remove over.mp4 from this list' }).click();
  await page.getByRole('heading', { name: /Drop a video/ }).waitFor();
  assert.ok(!server.seen.includes('POST /api/uploads'));
});

test('cancelling stops the upload, here and on the server, and the next one starts', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  server.holdUploadsAt = 1;
  const files = await Promise.all(['one.mp4', 'two.mp4', 'three.mp4'].map((name) => make(name, 2 * MB)));
  await choose(page, ...files);
  await row(page, 'three.mp4').getByText(/^Waiting to be sent/).waitFor();
  await page.waitForFunction(() => localStorage.length === 2);
  await Promise.all([
    page.waitForResponse((response) => response.request().method() === 'DELETE'),
    row(page, 'one.mp4').getByRole('button', { name: 'Cancel the upload of one.mp4' }).click(),
  ]);
  server.release();
  await card(page, 'two.mp4').waitFor();
  await card(page, 'three.mp4').waitFor();
  assert.equal(await card(page, 'one.mp4').count(), 0);
  assert.deepEqual([...server.uploads.values()].map(({ name }) => name).sort(), ['three.mp4', 'two.mp4']);
});

test('an empty file is sent too: what is wrong with it is the server’s to say', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url);
  await choose(page, await make('empty.mp4', 0));
  await card(page, 'empty.mp4').waitFor();
});

test('a file that goes away while it is sent is named as the reason', async (t) => {
  const server = await canned();
  const page = await open(t, browser, server.url, { failing: true });
  server.holdUploadsAt = 1;
  const file = await make('gone.mp4', 20 * MB);
  await choose(page, file);
  await page.waitForFunction(() => localStorage.length === 1);
  await writeFile(file.path, 'something else');
  server.release();
  await row(page, 'gone.mp4').getByText(/can no longer be read; it was changed, moved or removed/).waitFor();
});
