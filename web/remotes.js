// Files that the server fetches by their address: the form that asks for one, and a row for each
// that is on its way or was given up. `kinora add URL` does the same.

import * as api from './api.js';
import { confirm, removed } from './cards.js';
import { Bar, announce, button, h, icon, setText } from './dom.js';
import { closeOutside } from './verdict.js';
import { bytes, fileName } from './words.js';

export class Remotes {
  #section;
  #rows = new Map();
  #onchange;

  constructor(section, { onchange }) {
    this.#section = section;
    this.#onchange = onchange;
  }

  get empty() {
    return this.#rows.size === 0;
  }

  /** What came is an asset now, and stands there. */
  async sync() {
    const listed = await api.listRemotes();
    for (const id of [...this.#rows.keys()]) if (!listed.some((remote) => remote.id === id)) this.remove(id);
    for (const remote of listed) this.apply(remote);
  }

  /** The answer to a request may be older than an event that overtook it. */
  async added({ id }) {
    if (!this.#rows.has(id)) await this.sync().catch(() => {});
  }

  apply(remote) {
    let row = this.#rows.get(remote.id);
    if (!row) {
      row = new Row(remote.id);
      this.#rows.set(remote.id, row);
      this.#section.append(row.element);
    }
    row.draw(remote);
    this.#changed();
  }

  remove(id) {
    this.#rows.get(id)?.element.remove();
    if (this.#rows.delete(id)) this.#changed();
  }

  #changed() {
    this.#section.hidden = this.empty;
    this.#onchange();
  }
}

class Row {
  #bar = new Bar('Fetched');
  #name = h('bdi');
  #state = h('p', { class: 'quiet' });
  #again;

  constructor(id) {
    this.#again = button('Try again', () => api.retryRemote(id).catch((error) => setText(this.#state, `Not tried: ${error.message}.`)));
    const drop = () => confirm({
      title: 'Stop fetching this file?', text: ['What came of it is removed.'],
      yes: 'Stop', no: 'Go on', failed: 'Not stopped',
      act: () => removed(api.removeRemote(id)),
    });
    this.element = h('article', { class: 'transfer' },
      h('div', { class: 'transfer-text' }, h('h2', { class: 'name' }, this.#name), this.#state),
      h('div', { class: 'actions' }, this.#again, button('Remove', drop)), this.#bar.element);
  }

  draw({ name, url, arrived, length, state, error }) {
    this.element.dataset.state = state === 'failed' ? 'failed' : 'sending';
    this.element.title = url;
    setText(this.#name, fileName(name));
    this.#bar.set(length ? arrived / length : null);
    if (state === 'failed') announce(`${name} was not fetched: ${error}`);
    this.#again.hidden = state !== 'failed';
    const part = length ? `${bytes(arrived)} of ${bytes(length)}` : bytes(arrived);
    setText(this.#state, { failed: `Not fetched: ${error}.`, storing: 'Being stored' }[state] ?? `Fetched by the server: ${part}`);
  }
}

/** Asks for an address and lets the server fetch what is there. */
export function askForAddress(onadded) {
  const sheet = document.getElementById('source');
  const close = () => sheet.close();
  const address = h('input', { type: 'text', id: 'remote-address', inputmode: 'url', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', placeholder: 'https://example.org/clip.mp4' });
  const wrong = h('p', { class: 'failure-text', role: 'alert' });
  const form = h('form', { class: 'sheet-body', novalidate: true },
    h('div', { class: 'field' }, h('label', { for: address.id, text: 'Address of the file' }), address,
      h('p', { class: 'quiet', text: 'The server fetches it by itself, and goes on after breaks and restarts. Addresses in its own network are not asked unless it was told so.' })),
    wrong,
    h('div', { class: 'actions end' }, button('Cancel', close), h('button', { type: 'submit', class: 'button strong', text: 'Fetch' })));
  let sending = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    try {
      const remote = await api.addRemote({ url: address.value.trim() });
      close();
      onadded(remote);
    } catch (error) {
      setText(wrong, `Not fetched: ${error.message}.`);
      address.focus();
    } finally {
      sending = false;
    }
  });
  sheet.replaceChildren(
    h('header', { class: 'sheet-head' },
      h('div', {}, h('h2', { id: 'source-title', text: 'Fetch a file' })),
      h('button', { type: 'button', class: 'button bare', 'aria-label': 'Close', onclick: close }, icon('close'))),
    form);
  closeOutside(sheet);
  sheet.showModal();
  address.focus();
}
