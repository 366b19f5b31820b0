// A stream on a server: a clip is made and handed in, and what came of it is read as a player
// would, address by address.

import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BIN } from '../page/kinora.js';

/** Nine seconds of test picture and tone: two rungs of three segments. */
export function makeClip(folder) {
  const file = join(folder, 'clip.mp4');
  const source = ['-f', 'lavfi', '-i', 'testsrc2=size=854x480:rate=24:duration=9', '-f', 'lavfi', '-i', 'sine=frequency=440:duration=9'];
  const codecs = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac'];
  execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', ...source, ...codecs, file]);
  return file;
}

/** Hands a file in and waits, told by the server's own events, until its stream is whole. */
export async function makeStream(server, file) {
  const events = await fetch(new URL('api/events', server.url));
  const added = await fetch(new URL('api/assets?name=clip.mp4', server.url), { method: 'POST', body: await readFile(file) });
  const { id } = await added.json();
  const states = [];
  for await (const asset of assets(events.body)) {
    if (asset.id !== id) continue;
    states.push(asset.stream?.state ?? asset.state);
    if (asset.stream?.state === 'done') return asset;
    if (asset.error || asset.stream?.error) break;
  }
  throw new Error(`no stream was made: ${states.join(', ')}`);
}

async function* assets(body) {
  let text = '';
  let event = '';
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith('event: ')) event = line.slice(7);
      if (line.startsWith('data: ') && event === 'asset') yield JSON.parse(line.slice(6));
    }
  }
}

/** The names that the server's store has, with what they stand for. */
export function namesOf(server) {
  return JSON.parse(execFileSync(BIN, ['store', 'names', '--json', '--data', server.data], { encoding: 'utf8' }));
}

/** The addresses in a playlist. */
export function addresses(playlist) {
  const inTags = [...playlist.matchAll(/URI="([^"]+)"/g)].map(([, uri]) => uri);
  const lines = playlist.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return [...new Set([...inTags, ...lines])];
}

/** The CID in an address of content. */
export const cidOf = (address) => /^\/ipfs\/([^/?]+)/.exec(address)?.[1];
