// Puts the page together: files come in by picker or drop, changes come in by events,
// and each part is told. Knows no markup beyond the ids in index.html.

import { Access, showAccess } from './access.js';
import * as api from './api.js';
import { AssetList } from './assets.js';
import { h, icon, setText } from './dom.js';
import { Events } from './events.js';
import { Playlists } from './playlists.js';
import { Rendering } from './rendering.js';
import { Remotes, askForAddress } from './remotes.js';
import { askForSource } from './source.js';
import { StreamList } from './streams.js';
import { Transfers } from './transfers.js';
import { bytes } from './words.js';

const by = (id) => document.getElementById(id);
const main = by('library');
let listed = false;

/** One video plays at a time, whichever list it is in. */
const onplay = (card) => [assets, streams].forEach((list) => list.stopAllBut(card));

const playlists = new Playlists(by('screens'));
const rendering = new Rendering(by('rendering'), { onpaused: (paused) => assets.showPaused(paused) });
const assets = new AssetList(by('assets'), { tools: by('find'), more: by('older'), onchange: drawEmpty, onplay });
const remotes = new Remotes(by('remotes'), { onchange: drawEmpty });
const streams = new StreamList(by('streams'), { onchange: drawStreams, onplay });
const transfers = new Transfers(by('uploads'), { onasset: showUploaded, onchange: drawEmpty });

function drawEmpty() {
  by('empty').hidden = !listed || !assets.empty || !transfers.empty || !remotes.empty;
}

/** Without streams there is a quiet line below the videos; with some they stand above them. */
function drawStreams() {
  const box = by('lives');
  const none = streams.empty;
  box.hidden = !listed;
  by('no-streams').hidden = !none;
  if (none === box.classList.contains('none')) return;
  box.classList.toggle('none', none);
  if (none) by('screens').before(box);
  else main.querySelector('h1').after(box);
}

/** The event that announces a new asset may be slower than the upload's own answer. */
async function showUploaded(path) {
  try {
    if (path) assets.apply(await api.getAsset(path));
    else await assets.sync();
  } catch {
    // Gone again, or the connection is: the next synchronisation settles it.
  }
}

async function sync() {
  try {
    await Promise.all([assets.sync(), streams.sync(), remotes.sync(), playlists.sync(), rendering.sync()]);
    listed = true;
    main.setAttribute('aria-busy', 'false');
    drawEmpty();
    drawStreams();
  } catch {
    events.retry();
    return;
  }
  events.settled();
  describeServer();
}

async function describeServer() {
  const [status, board] = await Promise.allSettled([api.getStatus(), api.getThisBoard()]);
  if (status.status === 'fulfilled') {
    const { version, max_upload: limit, policy } = status.value;
    transfers.limit = limit ?? null;
    by('foot').replaceChildren(...[
      version && h('span', { text: `Kinora ${version}` }),
      limit && h('span', { text: `files up to ${bytes(limit)}` }),
      policy?.render === false && h('span', { text: 'renders nothing itself' }),
      h('a', { href: '/api/openapi.json', text: 'API description' }),
      ...access.footer(),
    ].filter(Boolean));
  }
  if (board.status === 'fulfilled') {
    const { id, name, model } = board.value;
    setText(by('host'), model || name ? `Running on ${model || name}` : '');
    if (id) assets.showThisBoard(id);
  }
}

const events = new Events({
  onasset: (asset) => {
    assets.apply(asset);
    remotes.remove(asset.id);
    rendering.changed();
  },
  onlive: (stream) => streams.apply(stream),
  onremote: (remote) => remotes.apply(remote),
  // No stream is called as an asset is.
  onremoved: (id) => {
    rendering.changed();
    assets.remove(id);
    streams.remove(id);
    remotes.remove(id);
  },
  onopen: () => {
    if (!access.session) access.check();
    const back = !by('lost').hidden;
    by('lost').hidden = true;
    by('lost').replaceChildren();
    sync();
    if (back) {
      transfers.wake();
      assets.wake();
      streams.wake();
    }
  },
  onlost: () => {
    // A connection that ended because its token was revoked looks like any other.
    access.check();
    if (!by('lost').hidden) return;
    by('lost').replaceChildren(icon('alert'), 'The connection to Kinora is lost. What you see may be out of date; it reconnects by itself.');
    by('lost').hidden = false;
  },
});

const pick = () => by('files').click();
by('add').addEventListener('click', pick);
by('add-first').addEventListener('click', pick);
by('add-address').addEventListener('click', () => askForAddress((remote) => remotes.added(remote)));
by('add-source').addEventListener('click', () => askForSource((stream) => streams.show(stream)));
by('files').addEventListener('change', (event) => {
  transfers.add([...event.target.files]);
  // So that choosing the same file again is a change again.
  event.target.value = '';
});

// The whole page takes files. `dragenter` comes for every element on the way, so the
// depth is counted; text dragged about inside the page is none of our business.
let depth = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
const showDrop = (on) => document.body.classList.toggle('dropping', on);
addEventListener('dragenter', (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth += 1;
  showDrop(true);
});
addEventListener('dragover', (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = 'copy';
});
addEventListener('dragleave', (event) => {
  if (!carriesFiles(event)) return;
  depth = Math.max(0, depth - 1);
  if (depth === 0) showDrop(false);
});
addEventListener('drop', async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  showDrop(false);
  transfers.add(await droppedFiles(event.dataTransfer));
});

/** Files and, for folders, the files in them. Entries must be taken before the first await. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  const found = [];
  const visit = async (entry) => {
    if (entry?.isFile) found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    if (!entry?.isDirectory) return;
    const reader = entry.createReader();
    for (;;) {
      // One call gives at most a hundred entries.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      for (const child of some) if (!child.name.startsWith('.')) await visit(child);
    }
  };
  for (const entry of entries) await visit(entry).catch(() => {});
  return found;
}

// Content is shown to who may see it; the connection for changes is the first thing that says whether
// the server can be reached, so it is tried whatever the answer.
let recalled = false;
const access = new Access({
  onin: () => {
    events.connect();
    transfers.wake();
    if (!recalled) transfers.recall(pick);
    recalled = true;
    if (location.pathname === '/device') showAccess(new URLSearchParams(location.search).get('code') ?? '');
  },
  onout: () => {
    events.stop();
    assets.stopAllBut(null);
    streams.stopAllBut(null);
  },
});
access.start().catch(() => events.connect());
