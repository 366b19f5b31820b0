// The uploads on the page: a row for each file on its way, and one for each upload
// that a reload or a closed tab cut short. Two files travel at a time, so that a small
// one is not stuck behind a large one. Sending itself is upload.js's.

import { Upload, arrived, discard, interrupted } from './upload.js';
import { Bar, announce, button, h, setText } from './dom.js';
import { bytes, fileName, left } from './words.js';

const AT_ONCE = 2;

export class Transfers {
  #section;
  #rows = new Map();
  #cut = new Map();
  #onasset;
  #onchange;
  /** Largest file the server takes, when it has said so. */
  limit = null;

  constructor(section, { onasset, onchange }) {
    this.#section = section;
    this.#onasset = onasset;
    this.#onchange = onchange;
  }

  get empty() {
    return this.#rows.size === 0 && this.#cut.size === 0;
  }

  add(files) {
    for (const file of files) {
      const upload = new Upload(file, (changed) => this.#draw(changed));
      const same = [...this.#rows.keys()].find((other) => other.key === upload.key);
      if (same && same.state !== 'failed') continue;
      if (same) this.#drop(same);
      this.#cut.get(upload.key)?.remove();
      this.#cut.delete(upload.key);
      this.#row(upload);
      if (this.#tooLarge(file)) {
        upload.error = `it has ${bytes(file.size)} and this server takes at most ${bytes(this.limit)}`;
        upload.state = 'failed';
        this.#draw(upload);
      }
    }
    this.#next();
  }

  #tooLarge(file) {
    return Boolean(this.limit) && file.size > this.limit;
  }

  /** The server can be reached again. */
  wake() {
    for (const upload of this.#rows.keys()) upload.wake();
  }

  /** Shows what an earlier visit left unfinished. The page cannot open the file again by itself. */
  async recall(pick) {
    for (const entry of interrupted()) {
      const name = fileName(entry.name);
      const offset = await arrived(entry).catch(() => null);
      const known = interrupted().some((other) => other.key === entry.key);
      if (offset === null || !known || [...this.#rows.keys()].some((upload) => upload.key === entry.key)) continue;
      const row = h('article', { class: 'transfer cut', 'aria-label': name },
        h('div', { class: 'transfer-text' },
          h('h2', { class: 'name' }, h('bdi', { text: name })),
          h('p', { class: 'quiet', text: `Interrupted with ${bytes(offset)} of ${bytes(entry.size)} sent. Choose the file again and it continues from there.` })),
        h('div', { class: 'actions' },
          button('Choose the file', pick, { kind: 'strong' }),
          button('Discard', () => {
            row.remove();
            this.#cut.delete(entry.key);
            discard(entry);
            this.#changed();
          })));
      this.#cut.set(entry.key, row);
      this.#section.append(row);
    }
    this.#changed();
  }

  #row(upload) {
    const name = fileName(upload.file.name);
    const bar = new Bar(`Upload of ${name}`);
    const text = h('p', { class: 'quiet' });
    const retry = button('Try again', () => {
      upload.state = 'queued';
      this.#draw(upload);
      this.#next();
    }, { kind: 'strong', label: `Try ${name} again` });
    const cancel = button('Cancel', () => this.#cancel(upload), { label: `Cancel the upload of ${name}` });
    const element = h('article', { class: 'transfer', 'aria-label': name },
      h('div', { class: 'transfer-text' }, h('h2', { class: 'name' }, h('bdi', { text: name })), text),
      h('div', { class: 'actions' }, retry, cancel), bar.element);
    this.#rows.set(upload, { element, bar, text, retry, cancel });
    this.#section.append(element);
    this.#draw(upload);
    this.#changed();
  }

  #draw(upload) {
    const row = this.#rows.get(upload);
    if (!row) return;
    const { file, state, sent } = upload;
    const name = fileName(file.name);
    const done = file.size ? sent / file.size : state === 'done' ? 1 : 0;
    row.element.dataset.state = state;
    row.bar.set(done);
    row.retry.hidden = state !== 'failed' || this.#tooLarge(file);
    setText(row.cancel, state === 'failed' ? 'Remove' : 'Cancel');
    row.cancel.setAttribute('aria-label', state === 'failed' ? `Remove ${name} from this list` : `Cancel the upload of ${name}`);
    const amount = `${bytes(sent)} of ${bytes(file.size)}`;
    if (state === 'queued') setText(row.text, `Waiting to be sent, ${bytes(file.size)}`);
    else if (state === 'sending') {
      setText(row.text, [amount, upload.rate ? `${bytes(upload.rate)}/s` : null, left(upload.secondsLeft)].filter(Boolean).join(' · '));
      if (done < 1) announce(`${name}: ${Math.floor(done * 4) * 25} % sent`);
    } else if (state === 'offline') {
      setText(row.text, `${amount} · Connection lost. Continues by itself when it is back.`);
      announce(`${name}: connection lost`);
    } else if (state === 'failed') {
      setText(row.text, `Not uploaded: ${fileName(upload.error)}.`);
      announce(`${name} was not uploaded: ${upload.error}`);
      this.#next();
    } else if (state === 'done') {
      announce(`${name} is uploaded`);
      this.#onasset(upload.asset);
      this.#drop(upload);
      this.#next();
    }
  }

  #cancel(upload) {
    upload.cancel();
    this.#drop(upload);
    this.#next();
  }

  #drop(upload) {
    const row = this.#rows.get(upload);
    const focused = row?.element.contains(document.activeElement);
    row?.element.remove();
    this.#rows.delete(upload);
    if (focused) document.getElementById('add').focus();
    this.#changed();
  }

  #next() {
    const uploads = [...this.#rows.keys()];
    let free = AT_ONCE - uploads.filter(({ state }) => state === 'sending' || state === 'offline').length;
    for (const upload of uploads) {
      if (free > 0 && upload.state === 'queued') {
        free -= 1;
        upload.run();
      }
    }
  }

  #changed() {
    this.#section.hidden = this.empty;
    this.#onchange();
  }
}
