// A small tus 1.0 client (https://tus.io/protocols/resumable-upload, core protocol,
// creation and termination): sends a file in pieces by PATCH and, after a lost
// connection, a reload or a restarted server, asks by HEAD how much arrived and goes
// on from there. What was begun is remembered in localStorage under the file's name,
// size and time, because a reload takes the file itself away from the page.
//
//   queued → sending ⇄ offline → done | failed | cancelled
//
// Drawing is transfers.js's.

import { problemText } from './api.js';

const ENDPOINT = '/api/uploads';
const PIECE = 8 * 1024 * 1024;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
// Wi-Fi that went away often leaves a connection that neither moves nor fails.
const STALLED_MS = 30_000;
const RATE_WINDOW_MS = 6_000;
const KEY = 'kinora.upload ';

/** Uploads that were begun in this browser and not finished, oldest first. */
export function interrupted() {
  const found = [];
  try {
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (!key.startsWith(KEY)) continue;
      try {
        found.push({ key, ...JSON.parse(localStorage.getItem(key)) });
      } catch {
        localStorage.removeItem(key);
      }
    }
  } catch {
    // No storage (a private window): nothing to resume, everything else works.
  }
  return found.sort((a, b) => a.begun - b.begun);
}

/** How much of a remembered upload the server holds; null when nothing is left to send. */
export async function arrived(entry) {
  const response = await fetch(entry.url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' }, cache: 'no-store' });
  const whole = response.headers.has('Kinora-Asset');
  if (whole || response.status === 404 || response.status === 410) forget(entry.key);
  return response.ok && !whole ? Number(response.headers.get('Upload-Offset')) : null;
}

/** Gives up a remembered upload, here and on the server. */
export async function discard(entry) {
  forget(entry.key);
  await fetch(entry.url, { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } }).catch(() => {});
}

function remember(key, entry) {
  try {
    localStorage.setItem(key, JSON.stringify(entry));
  } catch {
    // Full or forbidden: the upload goes on, it only cannot survive a reload.
  }
}

function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // Same as in `remember`.
  }
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Trying again later may help. */
class Transient extends Error {}
/** The server's answer is final. */
class Refused extends Error {}

export class Upload {
  state = 'queued';
  sent = 0;
  error = null;
  /** Path of the asset that came out, when the server named it. */
  asset = null;

  #url = null;
  #xhr = null;
  #wake = null;
  #samples = [];
  #onchange;

  constructor(file, onchange) {
    this.file = file;
    this.key = `${KEY}${file.name} ${file.size} ${file.lastModified}`;
    this.#onchange = onchange;
  }

  /** Bytes per second over the last seconds, 0 when nothing moves. */
  get rate() {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || last.at - first.at < 300) return 0;
    return ((last.sent - first.sent) * 1000) / (last.at - first.at);
  }

  get secondsLeft() {
    return this.rate ? (this.file.size - this.sent) / this.rate : NaN;
  }

  /** Sends until the file is there, is refused or is cancelled. Never rejects. */
  async run() {
    this.error = null;
    let wait = FIRST_WAIT_MS;
    const lost = () => this.#xhr?.abort();
    addEventListener('offline', lost);
    while (this.state !== 'cancelled') {
      const before = this.sent;
      try {
        this.#to('sending');
        await this.#locate();
        while (!this.asset && this.sent < this.file.size) await this.#send();
        if (this.state === 'cancelled') break;
        forget(this.key);
        this.#to('done');
        break;
      } catch (error) {
        if (this.state === 'cancelled') break;
        if (!(error instanceof Transient)) {
          this.error = error.message;
          this.#to('failed');
          break;
        }
        if (this.sent > before) wait = FIRST_WAIT_MS;
        this.#samples = [];
        this.#to('offline');
        await this.#pause(wait);
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      }
    }
    removeEventListener('offline', lost);
  }

  /** The network is back: do not sit out the wait. */
  wake() {
    this.#wake?.();
  }

  cancel() {
    this.#to('cancelled');
    this.#xhr?.abort();
    this.#wake?.();
    const url = this.#url ?? recall(this.key)?.url;
    if (url) discard({ key: this.key, url });
  }

  #to(state) {
    if (this.state === 'cancelled' && state !== 'queued') return;
    this.state = state;
    this.#onchange(this);
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener('online', done);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, ms);
      addEventListener('online', done);
      this.#wake = done;
    });
  }

  /** Finds the upload where it was left, or begins it. */
  async #locate() {
    this.#url ??= recall(this.key)?.url ?? null;
    if (this.#url) {
      const answer = await this.#ask('HEAD', this.#url);
      if (answer.status === 404 || answer.status === 410) {
        forget(this.key);
        this.#url = null;
        this.#moved(0);
      } else {
        this.#accept(answer);
        return;
      }
    }
    const answer = await this.#ask('POST', ENDPOINT, {
      'Upload-Length': String(this.file.size),
      'Upload-Metadata': `filename ${base64(this.file.name)}${this.file.type ? `,filetype ${base64(this.file.type)}` : ''}`,
    });
    const location = answer.headers('Location');
    if (!location) throw new Refused('the server did not say where to send it');
    this.#url = new URL(location, document.baseURI).pathname;
    this.asset = answer.headers('Kinora-Asset');
    this.#moved(0);
    remember(this.key, { url: this.#url, name: this.file.name, size: this.file.size, begun: Date.now() });
    // Nothing to PATCH, but only a PATCH tells some servers that all is there.
    if (this.file.size === 0 && !this.asset) await this.#send();
  }

  async #send() {
    const from = this.sent;
    const piece = this.file.slice(from, from + PIECE);
    const headers = { 'Upload-Offset': String(from), 'Content-Type': 'application/offset+octet-stream' };
    this.#accept(await this.#ask('PATCH', this.#url, headers, piece, (loaded) => this.#moved(from + loaded)));
  }

  #accept(answer) {
    const offset = Number(answer.headers('Upload-Offset') ?? NaN);
    if (!Number.isInteger(offset) || offset > this.file.size) throw new Refused('the server lost count of what arrived');
    this.asset = answer.headers('Kinora-Asset');
    this.#moved(offset);
  }

  #moved(sent) {
    this.sent = sent;
    const at = performance.now();
    if (this.#samples.length && sent < this.#samples.at(-1).sent) this.#samples = [];
    this.#samples.push({ at, sent });
    while (this.#samples.length > 2 && at - this.#samples[0].at > RATE_WINDOW_MS) this.#samples.shift();
    if (this.state === 'sending') this.#onchange(this);
  }

  // XMLHttpRequest, because fetch still cannot tell how much of a body went out.
  #ask(method, url, headers = {}, body = null, onprogress = null) {
    return new Promise((resolve, reject) => {
      const xhr = new XMLHttpRequest();
      let watchdog = 0;
      const alive = () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => xhr.abort(), STALLED_MS);
      };
      const end = (settle, value) => {
        clearTimeout(watchdog);
        this.#xhr = null;
        settle(value);
      };
      this.#xhr = xhr;
      xhr.open(method, url);
      xhr.setRequestHeader('Tus-Resumable', '1.0.0');
      for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
      xhr.upload.onprogress = (event) => {
        alive();
        onprogress?.(event.loaded);
      };
      xhr.onload = () => {
        const { status } = xhr;
        const gone = method === 'HEAD' && (status === 404 || status === 410);
        if ((status >= 200 && status < 300) || gone) end(resolve, { status, headers: (name) => xhr.getResponseHeader(name) });
        // The picked file changed on disk would show up as 409 for ever; a fresh HEAD settles the usual case.
        else if (status === 401) {
          // Goes on when somebody signed in again: the file is still at hand.
          dispatchEvent(new Event('kinora-signed-out'));
          end(reject, new Transient(problemText(status, xhr.responseText)));
        } else if ([404, 408, 409, 410, 423, 425, 429].includes(status) || (status >= 500 && status !== 507)) end(reject, new Transient(problemText(status, xhr.responseText)));
        else end(reject, new Refused(problemText(status, xhr.responseText)));
      };
      xhr.onerror = () => this.#unreadable().then((cause) => end(reject, cause));
      xhr.onabort = () => end(reject, new Transient('the connection was lost'));
      alive();
      xhr.send(body);
    });
  }

  /** A failed send is the network's fault, unless the file can no longer be read. */
  async #unreadable() {
    try {
      await this.file.slice(this.sent, this.sent + 1).arrayBuffer();
      return new Transient('the connection was lost');
    } catch {
      return new Refused('the file can no longer be read; it was changed, moved or removed after it was chosen');
    }
  }
}
