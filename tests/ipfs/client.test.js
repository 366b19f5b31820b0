// A client of IPFS that trusts nobody (@helia/verified-fetch) against the real server: it is given
// one address to ask who has what, finds the server through that, fetches a whole stream block by
// block, and checks each block and each name itself.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as ask, createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { withHTTP } from '@helia/http';
import { createVerifiedFetch } from '@helia/verified-fetch';
import { createHeliaLight } from 'helia';
import { BIN, Kinora } from '../page/kinora.js';
import { addresses, cidOf, makeClip, makeStream, namesOf } from './stream.js';

const skip = BIN ? false : 'KINORA_BIN names no kinora to test';
/** Encoding in an unoptimised build on a busy machine. */
const LONG = { timeout: 240_000 };
/** A client that is lied to looks elsewhere until it is told to stop. */
const PATIENCE = 15_000;
const LOCAL = { allowLocal: true, allowInsecure: true };

let folder;
let server;
let asset;
const clients = [];
before(async () => {
  if (skip) return;
  folder = await mkdtemp(join(tmpdir(), 'kinora-ipfs-'));
  server = await Kinora.start();
  asset = await makeStream(server, makeClip(folder));
}, LONG);
after(async () => {
  for (const client of clients) await client.stop();
  await server?.close();
  if (folder) await rm(folder, { recursive: true });
});

/** A client that knows nobody but the router, and fetches over HTTP alone. */
async function clientOf(router) {
  const helia = withHTTP(createHeliaLight(), { delegatedRouters: [router], recursiveGateways: [], ...LOCAL });
  await helia.start();
  const client = await createVerifiedFetch(helia);
  clients.push(client);
  return client;
}

const direct = async (address) => {
  const response = await fetch(new URL(address, server.url));
  assert.equal(response.status, 200, address);
  return Buffer.from(await response.arrayBuffer());
};

const verified = async (client, address, options = {}) => {
  const response = await client(address, { ...LOCAL, ...options });
  assert.ok(response.ok, `${address}: ${response.status}`);
  return Buffer.from(await response.arrayBuffer());
};

/** A proxy before the server, whose `change` may alter the body of an answer; it counts requests. */
async function proxy(change) {
  const seen = [];
  const listener = createServer(async (request, response) => {
    seen.push(request.url);
    // The host of the request is the proxy's own, so that the client is told to come back to it.
    const { status, headers, body } = await forward(request);
    const changed = change(request.url, body);
    response.writeHead(status, { ...headers, 'content-length': changed.length });
    response.end(changed);
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const close = () => new Promise((resolve) => {
    listener.close(resolve);
    listener.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${listener.address().port}`, seen, close };
}

function forward(request) {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const asked = ask({ hostname, port, path: request.url, method: request.method, headers: request.headers }, async (answer) => {
      const chunks = [];
      for await (const chunk of answer) chunks.push(chunk);
      const { 'content-type': type } = answer.headers;
      resolve({ status: answer.statusCode, headers: type ? { 'content-type': type } : {}, body: Buffer.concat(chunks) });
    });
    asked.on('error', reject);
    asked.end();
  });
}

test('a whole stream is found, fetched and verified', { skip, ...LONG }, async () => {
  const client = await clientOf(server.url);
  const names = new Map(namesOf(server).map((row) => [row.name, row]));
  const base = `streams/${asset.id}/`;
  const open = ['master.m3u8'];
  const playlists = new Set();
  const segments = new Set();
  while (open.length > 0) {
    const path = open.pop();
    if (playlists.has(path)) continue;
    playlists.add(path);
    const row = names.get(base + path);
    assert.ok(row, `${path} has a name`);
    // By its name, and by the CID that the name stands for.
    const text = await verified(client, `ipns://${row.ipns}`);
    assert.deepEqual(text, await direct(`streams/${asset.id}/${path}`), path);
    assert.deepEqual(text, await verified(client, `ipfs://${row.cid}`), path);
    for (const address of addresses(text.toString())) {
      if (cidOf(address)) segments.add(address);
      else open.push(new URL(address, `http://x/${path}`).pathname.slice(1));
    }
  }
  for (const rung of ['360p', '480p']) assert.ok(playlists.has(`${rung}/playlist.m3u8`), [...playlists].join());
  const media = [...segments].filter((address) => /filename=\d+\.ts/.test(address));
  assert.equal(media.length, 6);
  for (const address of segments) {
    assert.deepEqual(await verified(client, `ipfs://${cidOf(address)}`), await direct(address), address);
  }
});

test('a range of a large file takes the blocks of the range alone', { skip, ...LONG }, async (t) => {
  const between = await proxy((_, body) => body);
  t.after(between.close);
  const client = await clientOf(between.url);
  const original = await direct(`ipfs/${asset.cid}`);
  assert.ok(original.length > 2 << 20, 'a clip of several blocks');
  const range = await client(`ipfs://${asset.cid}`, { ...LOCAL, headers: { range: 'bytes=1100000-1100099' } });
  assert.equal(range.status, 206);
  assert.deepEqual(Buffer.from(await range.arrayBuffer()), original.subarray(1_100_000, 1_100_100));
  const blocks = between.seen.filter((url) => url.startsWith('/ipfs/') && !url.includes('bafkqaaa'));
  assert.equal(new Set(blocks).size, 2, blocks.join('\n'));
});

test('a corrupted block is rejected', { skip, ...LONG }, async (t) => {
  const row = namesOf(server).find(({ name }) => name.endsWith('/480p/playlist.m3u8'));
  const between = await proxy((url, body) => {
    if (!url.startsWith(`/ipfs/${row.cid}`)) return body;
    const changed = Buffer.from(body);
    changed[changed.length - 2] ^= 1;
    return changed;
  });
  t.after(between.close);
  const client = await clientOf(between.url);
  await assert.rejects(async () => {
    const response = await client(`ipfs://${row.cid}`, { ...LOCAL, signal: AbortSignal.timeout(PATIENCE) });
    assert.ok(!response.ok, 'bytes came that are not the content');
    throw new Error(`refused: ${response.status}`);
  });
  assert.ok(between.seen.some((url) => url.startsWith(`/ipfs/${row.cid}`)), 'the client came for the block');
});

test('a record that was tampered with is rejected', { skip, ...LONG }, async (t) => {
  const row = namesOf(server).find(({ name }) => name.endsWith('/master.m3u8'));
  const other = namesOf(server).find(({ name }) => name.endsWith('/360p/playlist.m3u8'));
  const between = await proxy((url, body) => {
    if (!url.startsWith('/routing/v1/ipns/')) return body;
    // Another playlist under this name, wherever the record says it.
    const text = body.toString('latin1').replaceAll(row.cid, other.cid);
    return Buffer.from(text, 'latin1');
  });
  t.after(between.close);
  const client = await clientOf(between.url);
  await assert.rejects(async () => {
    const response = await client(`ipns://${row.ipns}`, { ...LOCAL, signal: AbortSignal.timeout(PATIENCE) });
    assert.ok(!response.ok, 'a playlist came that the name does not stand for');
    throw new Error(`refused: ${response.status}`);
  });
  assert.ok(between.seen.some((url) => url.startsWith('/routing/v1/ipns/')), 'the client asked for the record');
});
