// Puts the page together: files come in by picker or drop, changes come in by events,
// and each part is told. Knows no markup beyond the ids in index.html.

import * as api from './api.js';
import { AssetList } from './assets.js';
import { h, icon, setText } from './dom.js';
import { Events } from './events.js';
import { Transfers } from './transfers.js';
import { bytes } from './words.js';

const by = (id) => document.getElementById(id);
const main = by('library');
let listed = false;

const assets = new AssetList(by('assets'), { onchange: drawEmpty });
const transfers = new Transfers(by('uploads'), { onasset: showUploaded, onchange: drawEmpty });

function drawEmpty() {
  by('empty').hidden = !listed || !assets.empty || !transfers.empty;
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
    await assets.sync();
    listed = true;
    main.setAttribute('aria-busy', 'false');
    drawEmpty();
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
    const { version, free_bytes: free, max_upload: limit, policy } = status.value;
    transfers.limit = limit ?? null;
    by('foot').replaceChildren(...[
      version && h('span', { text: `Kinora ${version}` }),
      Number.isFinite(free) && h('span', { text: `${bytes(free)} free` }),
      limit && h('span', { text: `files up to ${bytes(limit)}` }),
      policy?.render === false && h('span', { text: 'renders nothing itself' }),
      h('a', { href: '/api/openapi.json', text: 'API description' }),
    ].filter(Boolean));
  }
  if (board.status === 'fulfilled') {
    const { id, name, model } = board.value;
    setText(by('host'), model || name ? `Running on ${model || name}` : '');
    if (id) assets.showThisBoard(id);
  }
}

const events = new Events({
  onasset: (asset) => assets.apply(asset),
  onremoved: (id) => assets.remove(id),
  onopen: () => {
    const back = !by('lost').hidden;
    by('lost').hidden = true;
    by('lost').replaceChildren();
    sync();
    if (back) {
      transfers.wake();
      assets.wake();
    }
  },
  onlost: () => {
    by('lost').replaceChildren(icon('alert'), 'The connection to Kinora is lost. What you see may be out of date; it reconnects by itself.');
    by('lost').hidden = false;
  },
});

const pick = () => by('files').click();
by('add').addEventListener('click', pick);
by('add-first').addEventListener('click', pick);
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

events.connect();
transfers.recall(pick);
