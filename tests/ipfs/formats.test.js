// CAR files and IPNS records beside those of other implementations: @ipld/car, @ipld/dag-pb, ipns.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CarReader, CarWriter } from '@ipld/car';
import * as dagPb from '@ipld/dag-pb';
import { multihashToIPNSRoutingKey, unmarshalIPNSRecord } from 'ipns';
import { ipnsValidator } from 'ipns/validator';
import { base36 } from 'multiformats/bases/base36';
import { CID } from 'multiformats/cid';
import { BIN, Kinora } from '../page/kinora.js';
import { makeClip, makeStream, namesOf } from './stream.js';

const skip = BIN ? false : 'KINORA_BIN names no kinora to test';
const LONG = { timeout: 240_000 };
const DAG_PB = 0x70;

let folder;
const servers = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kinora-formats-'));
});
after(async () => {
  for (const server of servers) await server.close();
  await rm(folder, { recursive: true });
});

const kinora = (...args) => execFileSync(BIN, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/** The blocks below a root, depth first, each once, decoded by other people's code. */
async function walk(blocks, root) {
  const found = new Map();
  const visit = async (cid) => {
    if (found.has(cid.toString())) return;
    const bytes = await blocks(cid);
    found.set(cid.toString(), { cid, bytes });
    if (cid.code !== DAG_PB) return;
    for (const link of dagPb.decode(bytes).Links) await visit(link.Hash);
  };
  await visit(root);
  return [...found.values()];
}

/** A CAR as @ipld/car writes it. */
async function carOf(roots, blocks) {
  const { writer, out } = CarWriter.create(roots);
  const chunks = [];
  const read = (async () => {
    for await (const chunk of out) chunks.push(chunk);
  })();
  for (const block of blocks) await writer.put(block);
  await writer.close();
  await read;
  return Buffer.concat(chunks);
}

test('an export has the bytes that @ipld/car writes, and goes in again', { skip, ...LONG }, async () => {
  const server = await Kinora.start('--no-streams');
  servers.push(server);
  // Two chunks of the last are one block.
  const chunk = randomBytes(1 << 20);
  const samples = { small: Buffer.from('hello world'), empty: Buffer.alloc(0), odd: Buffer.concat([chunk, chunk, Buffer.from('end')]) };
  for (const [name, content] of Object.entries(samples)) {
    const file = join(folder, name);
    await writeFile(file, content);
    const cid = kinora('store', 'add', file, '--data', server.data).trim();
    const raw = async (cid) => {
      const response = await fetch(new URL(`ipfs/${cid}?format=raw`, server.url));
      assert.equal(response.status, 200);
      return new Uint8Array(await response.arrayBuffer());
    };
    const root = CID.parse(cid);
    const theirs = await carOf([root], await walk(raw, root));
    const car = `${file}.car`;
    const told = JSON.parse(kinora('store', 'export', cid, '-o', car, '--json', '--data', server.data));
    const ours = await readFile(car);
    assert.deepEqual(ours, theirs, name);
    assert.equal(told.bytes, ours.length);
    const served = await fetch(new URL(`ipfs/${cid}?format=car`, server.url));
    assert.deepEqual(Buffer.from(await served.arrayBuffer()), theirs, `${name} over HTTP`);

    const other = join(folder, `${name}-store`);
    const imported = JSON.parse(kinora('store', 'import', car, '--json', '--data', other));
    assert.deepEqual(imported.roots, [cid]);
    assert.deepEqual(imported.pins, [`car/${cid}`]);
    const back = execFileSync(BIN, ['store', 'cat', cid, '--data', other], { maxBuffer: 1 << 24 });
    assert.deepEqual(back, content, name);
  }
});

test('a CAR by @ipld/car with a wrong block pins nothing', { skip, ...LONG }, async () => {
  const bytes = Buffer.from('this is not what the CID says');
  const cid = CID.parse('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e');
  const file = join(folder, 'wrong.car');
  await writeFile(file, await carOf([cid], [{ cid, bytes }]));
  const data = join(folder, 'wrong-store');
  const ended = spawnSync(BIN, ['store', 'import', file, '--data', data], { encoding: 'utf8' });
  assert.equal(ended.status, 1);
  assert.match(ended.stderr, new RegExp(`block ${cid} at byte 59 is not what its CID says`));
  assert.deepEqual(JSON.parse(kinora('store', 'pin', 'ls', '--json', '--data', data)), []);
});

test('a CAR of the gateway is read by @ipld/car', { skip, ...LONG }, async () => {
  const server = await Kinora.start('--no-streams');
  servers.push(server);
  const file = join(folder, 'probe');
  await writeFile(file, randomBytes(3 << 20));
  const cid = kinora('store', 'add', file, '--data', server.data).trim();
  const response = await fetch(new URL(`ipfs/${cid}?format=car&entity-bytes=0:10`, server.url));
  const reader = await CarReader.fromBytes(new Uint8Array(await response.arrayBuffer()));
  assert.deepEqual((await reader.getRoots()).map(String), [cid]);
  let count = 0;
  for await (const { cid, bytes } of reader.blocks()) {
    const digest = createHash('sha256').update(bytes).digest();
    assert.deepEqual(Buffer.from(cid.multihash.digest), digest);
    count += 1;
  }
  assert.equal(count, 2, 'the root and the first of three leaves');
});

test('what is missing cuts the answer, and what is asked for without it comes', { skip, ...LONG }, async () => {
  const server = await Kinora.start('--no-streams', '--public-content', '--public-url', 'https://media.example');
  servers.push(server);
  const hole = fileURLToPath(new URL('../../fixtures/gateway/trustless_gateway_car/file-3k-and-3-blocks-missing-block.car', import.meta.url));
  const root = kinora('store', 'import', hole, '--no-pin', '--data', server.data).trim();
  const at = (rest, headers = {}) => fetch(new URL(`ipfs/${root}${rest}`, server.url), { headers });
  for (const rest of ['', '?format=car']) {
    const response = await at(rest);
    assert.equal(response.status, 200);
    await assert.rejects(response.arrayBuffer(), `${rest}: half of it looked like the whole`);
  }
  for (const range of ['bytes=0-1023', 'bytes=2048-3071']) {
    const response = await at('', { range });
    assert.equal(response.status, 206);
    assert.equal((await response.arrayBuffer()).byteLength, 1024);
  }
  assert.equal((await at('', { range: 'bytes=1024-1100' })).status, 404);
  // And who is told to come here comes to the public address.
  const { Providers: [peer] } = await server.json(`routing/v1/providers/${root}`);
  assert.deepEqual(peer.Addrs, ['/dns/media.example/tcp/443/https']);
  const { Providers: none } = await server.json('routing/v1/providers/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e');
  assert.deepEqual(none, []);
});

test('records of names pass the validator of npm, and their sequence rises', { skip, ...LONG }, async () => {
  const server = await Kinora.start();
  servers.push(server);
  await makeStream(server, makeClip(folder));
  const rows = namesOf(server);
  assert.ok(rows.length >= 3);
  for (const row of rows) {
    const response = await fetch(new URL(`routing/v1/ipns/${row.ipns}`, server.url), { headers: { accept: 'application/vnd.ipfs.ipns-record' } });
    assert.equal(response.headers.get('content-type'), 'application/vnd.ipfs.ipns-record');
    const bytes = new Uint8Array(await response.arrayBuffer());
    const name = CID.parse(row.ipns, base36);
    await ipnsValidator(multihashToIPNSRoutingKey(name.multihash), bytes);
    const record = unmarshalIPNSRecord(bytes);
    assert.equal(record.value, `/ipfs/${row.cid}`);
    assert.equal(record.sequence, BigInt(row.sequence));
    assert.ok(record.signatureV1, 'with a signature for old readers');
    // A playlist is published once per segment, so its sequence has risen.
    if (row.name.endsWith('/playlist.m3u8')) assert.ok(record.sequence > 1n, row.name);
    // No other key's record passes.
    const other = CID.parse(rows.find((it) => it !== row).ipns, base36);
    await assert.rejects(ipnsValidator(multihashToIPNSRoutingKey(other.multihash), bytes));
  }
});
