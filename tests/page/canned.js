// A small stand-in for `kinora serve`: it serves web/ under the same content policy and
// answers the API from memory, so that tests can put the page into states that a real
// server reaches rarely or slowly: empty, offline, full, cut in the middle of an upload.
// Real answers are the business of server.test.js.

import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('../../web/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml',
  '.m3u8': 'application/vnd.apple.mpegurl', '.ts': 'video/mp2t', '.jpg': 'image/jpeg',
};
// The server's own, from crates/server/src/border.rs.
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export class Canned {
  assets = [];
  lives = [];
  status = { version: '0.1.0', uptime_s: 60, free_bytes: 182_400_000_000, disk_bytes: 500_000_000_000, used: { originals: 120_000_000_000, variants: 64_000_000_000, streams: 90_000_000_000 }, policy: { render: true, allow_software: false }, max_upload: 64_000_000_000 };
  board = { id: 'x86', name: 'PC (x86)', model: null };
  /** Asset JSON for a finished upload; tests may replace it. */
  accept = (upload) => ({ ...blank(upload.name, upload.size), id: `up${upload.id}` });
  /** Requests seen, as "METHOD /path". */
  seen = [];
  uploads = new Map();
  /** Called before every request; a status number is answered as a problem, `'cut'` drops the connection. */
  fault = () => null;
  /** Bytes of a PATCH body after which the connection is dropped, once. */
  cutAfter = null;
  /** Folder that /streams/ is served from. */
  streams = null;
  down = false;

  #clients = new Set();
  #sockets = new Set();
  #server = null;
  #held = [];
  #begun = 0;

  async start() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(String(error));
      });
    });
    this.#server.on('connection', (socket) => {
      if (this.down) {
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}/`;
    return this;
  }

  async close() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Drops every connection and refuses new ones until `up`. */
  goDown() {
    this.down = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  goUp() {
    this.down = false;
  }

  put(asset) {
    const at = this.assets.findIndex(({ id }) => id === asset.id);
    if (at >= 0) this.assets[at] = asset;
    else this.assets.unshift(asset);
    this.send('asset', asset);
  }

  putLive(stream) {
    const at = this.lives.findIndex(({ name }) => name === stream.name);
    if (at >= 0) this.lives[at] = stream;
    else this.lives.unshift(stream);
    this.send('live', stream);
  }

  send(event, data) {
    for (const client of this.#clients) client.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** Answers `count` bytes of upload and then waits until `release`, to look at the page meanwhile. */
  holdUploadsAt = null;
  release() {
    this.holdUploadsAt = null;
    for (const go of this.#held.splice(0)) go();
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url);
    const path = url.pathname;
    this.seen.push(`${request.method} ${path}`);
    const fault = this.fault(request.method, path);
    if (fault === 'cut') {
      request.socket.destroy();
      return;
    }
    if (fault) {
      request.resume();
      problem(response, fault.status ?? fault, fault.detail ?? 'made to fail');
      return;
    }
    if (path === '/api/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      response.write(': hello\n\n');
      this.#clients.add(response);
      response.on('close', () => this.#clients.delete(response));
    } else if (path === '/api/assets') this.#list(response, url);
    else if (path === '/api/variants') await this.#rendering(request, response);
    else if (path === '/api/boards' || path.startsWith('/api/boards/')) await this.#boards(request, response, path);
    else if (path === '/api/streams' || path.startsWith('/api/streams/')) await this.#live(request, response, url);
    else if (path === '/api/remotes') json(response, []);
    else if (path === '/api/playlists') json(response, this.playlists);
    else if (/^\/api\/playlists\/[^/]+\/now$/.test(path)) json(response, this.#playing(path.split('/')[3]));
    else if (path === '/api/session') json(response, { needed: false, role: 'admin', name: null });
    else if (path === '/api/status') json(response, this.status);
    else if (path === '/api/board') json(response, this.board);
    else if (path.startsWith('/api/uploads')) await this.#tus(request, response, path);
    else if (path.startsWith('/api/assets/')) await this.#asset(request, response, path);
    else if (path.startsWith('/streams/') && this.streams) await file(response, join(this.streams, normalize(path.slice('/streams/'.length))), true);
    else if (path === '/hls.min.js') await file(response, join(WEB, 'node_modules/hls.js/dist/hls.min.js'));
    else await file(response, join(WEB, path === '/' ? 'index.html' : normalize(path)));
  }

  /** Boards of the table; an enrolled one says so. */
  boards = [['pi3', 'Raspberry Pi 3', 'h264 1080p30'], ['pi4-64', 'Raspberry Pi 4', 'hevc 2160p60'], ['x86', 'PC (x86)', 'hevc 2160p60']].map(([id, name, target]) => ({ id, name, target, enrolled: null }));
  playlists = [{ name: 'default', version: 0, time_zone: 'UTC', items: [] }];

  /** Whatever is enabled plays. */
  #playing(name) {
    const { items } = this.playlists.find((list) => list.name === name);
    const found = items.filter(({ enabled }) => enabled).flatMap(({ asset: id }) => this.assets.filter((asset) => asset.id === id));
    return { name, items: found.map(({ id, name: called }) => ({ asset: id, name: called, duration_s: 10, url: `/api/assets/${id}/file` })), until: '2026-11-20T23:00:00Z' };
  }

  rendering = { paused: false, pause_s: 0, unfinished: 0, done: 0, failed: 0, cancelled: 0, variants: [] };
  /** Changes of rendering that were asked for, with the asset's id or null. */
  changes = [];

  #list(response, url) {
    const search = url.searchParams.get('search')?.toLowerCase() ?? '';
    const limit = Number(url.searchParams.get('limit'));
    const from = Number(url.searchParams.get('after') ?? 0);
    const found = this.assets.filter(({ name }) => name.toLowerCase().includes(search));
    const headers = { 'Content-Type': 'application/json', 'Kinora-Total': String(found.length) };
    if (from + limit < found.length) headers.Link = `</api/assets?limit=${limit}&after=${from + limit}>; rel="next"`;
    response.writeHead(200, headers).end(JSON.stringify(found.slice(from, from + limit)));
  }

  async #rendering(request, response) {
    if (request.method === 'PATCH') {
      const change = JSON.parse(Buffer.concat(await request.toArray()).toString());
      this.changes.push([null, change]);
      if ('paused' in change) this.rendering.paused = change.paused;
      if (change.cancel) Object.assign(this.rendering, { cancelled: this.rendering.unfinished, unfinished: 0 });
    }
    json(response, this.rendering);
  }

  async #boards(request, response, path) {
    const board = this.boards.find(({ id }) => id === path.split('/')[3]);
    if (request.method === 'PUT') {
      const { policy } = JSON.parse(Buffer.concat(await request.toArray()).toString());
      board.enrolled = { policy, renders: policy !== 'gate', since: '2026-11-20T12:00:00Z' };
      response.writeHead(204).end();
    } else if (request.method === 'DELETE') {
      board.enrolled = null;
      response.writeHead(204).end();
    } else json(response, this.boards);
  }

  async #asset(request, response, path) {
    const [, , , id, what] = path.split('/');
    const asset = this.assets.find((each) => each.id === id);
    // A card that was just shown may ask for its picture after the test took its asset away.
    if (what === 'thumbnail') {
      response.writeHead(200, { 'Content-Type': 'image/jpeg' });
      response.end(this.thumbnail);
    } else if (!asset) problem(response, 404, 'no such asset');
    else if (what === 'variants') {
      const change = JSON.parse(Buffer.concat(await request.toArray()).toString());
      this.changes.push([id, change]);
      if ('paused' in change) asset.paused = change.paused;
      json(response, asset);
    } else if (what === 'stream') {
      response.writeHead(204).end();
    } else if (request.method === 'DELETE') {
      this.assets = this.assets.filter((each) => each.id !== id);
      response.writeHead(204).end();
      this.send('removed', { id });
    } else json(response, asset);
  }

  /** What was asked for by POST, as it came. */
  asked = [];

  async #live(request, response, url) {
    const name = decodeURIComponent(url.pathname.split('/')[3] ?? '');
    if (request.method === 'POST') {
      const asked = JSON.parse(Buffer.concat(await request.toArray()).toString());
      this.asked.push(asked);
      if (this.lives.some((each) => each.name === asked.name)) {
        problem(response, 409, `there is another stream "${asked.name}"`);
        return;
      }
      const stream = live(asked.name, { source: asked.source, state: 'waiting', url: null, media_s: null, window_s: asked.window_s, low_latency: asked.low_latency });
      this.putLive(stream);
      response.writeHead(201, { 'Content-Type': 'application/json' }).end(JSON.stringify(stream));
    } else if (request.method === 'DELETE' && url.searchParams.get('keep') === 'true') {
      this.seen.push(`END ${name}`);
      response.writeHead(202).end();
    } else if (request.method === 'DELETE') {
      this.lives = this.lives.filter((each) => each.name !== name);
      response.writeHead(204).end();
      this.send('removed', { id: name });
    } else json(response, this.lives);
  }

  async #tus(request, response, path) {
    const head = { 'Tus-Resumable': '1.0.0', 'Cache-Control': 'no-store' };
    if (request.method === 'POST') {
      const name = /filename (\S+?)(,|$)/.exec(request.headers['upload-metadata'])[1];
      const id = String((this.#begun += 1));
      this.uploads.set(id, { id, name: Buffer.from(name, 'base64').toString(), size: Number(request.headers['upload-length']), got: [], offset: 0 });
      response.writeHead(201, { ...head, Location: `/api/uploads/${id}` }).end();
      return;
    }
    const upload = this.uploads.get(path.split('/')[3]);
    if (!upload) {
      problem(response, 404, 'no such upload');
      return;
    }
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...head, 'Upload-Offset': upload.offset, 'Upload-Length': upload.size }).end();
      return;
    }
    if (request.method === 'DELETE') {
      this.uploads.delete(upload.id);
      response.writeHead(204, head).end();
      return;
    }
    if (Number(request.headers['upload-offset']) !== upload.offset) {
      problem(response, 409, 'the offset is not where the upload stands');
      return;
    }
    let body = 0;
    try {
      for await (const piece of request) {
        upload.got.push(piece);
        upload.offset += piece.length;
        body += piece.length;
        if (this.cutAfter !== null && body >= this.cutAfter) {
          this.cutAfter = null;
          request.socket.destroy();
          return;
        }
        if (this.holdUploadsAt !== null && upload.offset >= this.holdUploadsAt) await new Promise((go) => this.#held.push(go));
      }
    } catch {
      return; // The page went away; what came is kept.
    }
    if (!this.uploads.has(upload.id)) return; // Terminated while its bytes were on their way.
    const done = upload.offset === upload.size;
    if (done) {
      const asset = this.accept(upload);
      head['Kinora-Asset'] = `/api/assets/${asset.id}`;
      this.put(asset);
    }
    response.writeHead(204, { ...head, 'Upload-Offset': upload.offset }).end();
  }
}

function json(response, value) {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(value));
}

function problem(response, status, detail) {
  response.writeHead(status, { 'Content-Type': 'application/problem+json' });
  response.end(JSON.stringify({ type: 'about:blank', title: 'Problem', status, detail }));
}

async function file(response, path, noCache = false) {
  const found = await stat(path).catch(() => null);
  if (!found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const headers = { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream', 'Content-Security-Policy': POLICY };
  if (noCache) headers['Cache-Control'] = 'no-cache';
  if (extname(path) === '.m3u8') {
    response.writeHead(200, headers).end(await readFile(path));
    return;
  }
  response.writeHead(200, { ...headers, 'Content-Length': found.size });
  createReadStream(path).pipe(response);
}

export const PROBE = {
  container: 'mov,mp4,m4a,3gp,3g2,mj2', duration_s: 14.02, bit_rate: 4_210_000, size: 7_380_000,
  video: [{
    index: 0, codec: 'hevc', profile: 'Main 10', level: 120, width: 1920, height: 1080, fps: '30000/1001', variable_rate: false, frames: 420, sample_aspect: '1/1',
    rotation: 0, pix_fmt: 'yuv420p10le', bit_depth: 10, chroma: '4:2:0', field_order: 'progressive', color_primaries: 'bt2020', color_transfer: 'smpte2084',
    color_space: 'bt2020nc', color_range: 'tv', hdr: 'hdr10', bit_rate: 4_000_000, duration_s: 14.02, attached_picture: false,
  }],
  audio: [{ index: 1, codec: 'aac', profile: 'LC', channels: 2, channel_layout: 'stereo', sample_rate: 48000, bit_rate: 128000, duration_s: 14, language: 'eng' }],
  subtitles: [],
};

const COMMAND = "ffmpeg -i 'summer clip.mp4' -c:v libx264 -profile:v high -pix_fmt yuv420p -preset slow -crf 20 -c:a aac -b:a 128k -movflags +faststart 'summer clip.pi3.mp4'";
const rejected = (board, name) => ({
  board, name, verdict: 'reject', decoder: null, hwdec: null, target: 'h264 1080p30', variant: null,
  reasons: ['codec: hevc is not among what the board decodes: h264', 'bit depth: 10 bit, the board decodes 8 bit'], command: COMMAND,
});
const played = (board, name, hwdec, decoder = 'hardware') => ({ board, name, verdict: 'plays', decoder, hwdec, target: 'hevc 2160p60', variant: null, reasons: [], command: null });

export const VERDICTS = [
  rejected('pi2', 'Raspberry Pi 2'),
  rejected('pi3', 'Raspberry Pi 3'),
  played('pi4-64', 'Raspberry Pi 4 (64-bit)', 'drm-copy'),
  played('pi5', 'Raspberry Pi 5', 'drm-copy'),
  played('rockpi4', 'Rock Pi 4', 'drm-copy'),
  {
    board: 'arm64', name: 'arm64 board', verdict: 'render', decoder: null, hwdec: null, target: 'h264 1080p30', command: COMMAND,
    variant: { codec: 'h264', width: 1920, height: 1080, fps: '30000/1001' }, reasons: ['codec: hevc is not among what the board decodes: h264'],
  },
  played('x86', 'PC (x86)', 'vaapi-copy'),
];

/** An asset as it is right after its upload. */
export function blank(name, size) {
  return { id: 'a', name, size, cid: null, created: new Date().toISOString(), state: 'probing', error: null, probe: null, thumbnail: null, verdicts: [], stream: null };
}

/** An asset that was looked at, with `over` put on top. */
export function ready(id, name, over = {}) {
  return {
    ...blank(name, PROBE.size), id, cid: `bafy${id}`, state: 'ready', probe: PROBE, thumbnail: `/api/assets/${id}/thumbnail`, verdicts: VERDICTS, ...over,
  };
}

export function running(id, fraction, over = {}) {
  return {
    state: 'running', error: null, url: null, rungs: [],
    progress: { fraction, media_s: 14.02 * fraction, total_s: 14.02, speed: 1.9, eta_s: (14.02 * (1 - fraction)) / 1.9 }, ...over,
  };
}

export function done(id) {
  return {
    state: 'done', error: null, url: `/streams/${id}/master.m3u8`, progress: { fraction: 1, media_s: 14.02, total_s: 14.02, speed: 2, eta_s: 0 },
    rungs: ['1080p', '720p', '360p'].map((name) => ({ name, width: 1, height: parseInt(name, 10), bit_rate: 1e6, segments: 4, bytes: 1, copied: false })),
  };
}

/** A live stream that goes on, with `over` put on top. */
export function live(name, over = {}) {
  return {
    name, state: 'running', created: '2026-11-20T12:00:00Z', source: 'rtsp://camera.lan', url: `/streams/${name}/master.m3u8`,
    window_s: null, low_latency: false, media_s: 725.4, waiting: null, ...over,
  };
}
