// What lists on the page have in common: a card for each thing the server names, made once
// and then patched. An event that changes a progress bar touches that bar and nothing else,
// so a playing video, the focus and an open menu survive everything that goes on around them.

import { announce, button, h, setText } from './dom.js';
import { Player } from './player.js';
import { closeOutside, copyText } from './verdict.js';

export class CardList {
  #section;
  #read;
  #make;
  #key;
  #onchange;
  #touched = null;
  cards = new Map();

  /**
   * `read` gives the whole list, newest first; `key` names what stays the same of one thing,
   * `make` makes its card; `onplay` is told of a card that begins to play.
   */
  constructor(section, { read, key, make, onchange, onplay }) {
    this.#section = section;
    this.#read = read;
    this.#make = make;
    this.#key = key;
    this.#onchange = onchange;
    this.onplay = onplay;
  }

  get empty() {
    return this.cards.size === 0;
  }

  /** Reads the whole list. What events said while the answer was under way is newer and stays. */
  async sync() {
    const touched = (this.#touched = new Set());
    const things = await this.#read();
    if (this.#touched !== touched) return;
    this.#touched = null;
    const present = new Set(things.map(this.#key));
    for (const key of [...this.cards.keys()]) if (!present.has(key) && !touched.has(key)) this.#take(key);
    // Oldest first, so that each goes on top of the ones before it.
    for (const thing of things.reverse()) if (!touched.has(this.#key(thing))) this.#put(thing);
    this.#onchange();
  }

  apply(thing) {
    this.#touched?.add(this.#key(thing));
    this.#put(thing);
    this.#onchange();
  }

  remove(key) {
    this.#touched?.add(key);
    const card = this.cards.get(key);
    this.#take(key);
    if (card) announce(`${card.label} was removed`);
    this.#onchange();
  }

  /** The server is back: a player that gave up meanwhile tries again. */
  wake() {
    for (const card of this.cards.values()) card.player?.wake();
  }

  /** One video plays at a time. */
  stopAllBut(card) {
    for (const other of this.cards.values()) if (other !== card) other.stop();
  }

  #put(thing) {
    const key = this.#key(thing);
    const known = this.cards.get(key);
    if (known) {
      known.update(thing);
      return;
    }
    const card = this.#make(thing, this);
    this.cards.set(key, card);
    // Newest first. Cards that are there never move: moving one would stop its video.
    const next = [...this.#section.children].find((other) => other.dataset.created <= card.element.dataset.created);
    this.#section.insertBefore(card.element, next ?? null);
  }

  #take(key) {
    const card = this.cards.get(key);
    if (!card) return;
    this.cards.delete(key);
    const focused = card.element.contains(document.activeElement);
    const neighbour = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.stop();
    card.element.remove();
    if (focused) (neighbour?.querySelector('.name') ?? document.getElementById('add')).focus();
  }
}

/**
 * A card whose stream can be played in it. What is on it is the business of who extends it:
 * `element`, `label` (its name as shown), `title` (what the player is told; `url` null while
 * there is nothing to play) and `draw`, called after every change.
 */
export class PlayableCard {
  player = null;
  #list;

  constructor(list, label) {
    this.#list = list;
    this.label = label;
    this.playButton = button('Play', () => this.play(), { kind: 'strong', picture: 'plays', label: `Play ${label}` });
    this.copy = button('Copy stream address', () => this.#copyAddress(), { label: `Copy the stream address of ${label}` });
  }

  /** Called by `draw`, after the rest of the card is drawn. */
  drawPlayer() {
    const { title } = this;
    this.playButton.hidden = !title.url || this.player !== null;
    this.copy.hidden = !title.url;
    if (this.player && !title.url) this.stop();
    this.player?.update(title);
  }

  play() {
    if (this.player) {
      this.player.focus();
      return;
    }
    this.#list.onplay(this);
    this.player = new Player(this.title, {
      onclose: () => {
        this.stop();
        this.playButton.focus();
      },
    });
    this.element.classList.add('playing');
    this.element.prepend(this.player.element);
    this.draw();
    this.player.focus();
    this.player.element.scrollIntoView({ block: 'nearest' });
    this.player.start();
  }

  stop() {
    if (!this.player) return;
    this.player.close();
    this.player = null;
    this.element.classList.remove('playing');
    this.draw();
  }

  async #copyAddress() {
    const done = await copyText(new URL(this.title.url, document.baseURI).href, null);
    setText(this.copy, done ? 'Address copied' : 'Copying is not allowed here');
    if (done) announce('Stream address copied');
    this.copy.addEventListener('blur', () => setText(this.copy, 'Copy stream address'), { once: true });
  }
}

/**
 * Asks before something is done that cannot be undone. `act` does it; when it fails the sheet
 * stays and says `failed` with the reason.
 */
export function confirm({ title, text, yes, no, failed, act }) {
  const dialog = document.getElementById('confirm');
  const problem = h('p', { class: 'failure-text', role: 'alert' });
  const go = button(yes, async () => {
    go.disabled = true;
    try {
      await act();
    } catch (error) {
      go.disabled = false;
      setText(problem, `${failed}: ${error.message}.`);
      return;
    }
    dialog.close();
  }, { kind: 'danger solid' });
  const leave = button(no, () => dialog.close());
  leave.autofocus = true;
  dialog.replaceChildren(
    h('div', { class: 'sheet-body' },
      h('h2', { id: 'confirm-title', text: title }),
      h('p', { id: 'confirm-text' }, ...text),
      problem,
      h('div', { class: 'actions end' }, leave, go)));
  closeOutside(dialog);
  dialog.showModal();
}

/** Removes through `request`; what is gone already is gone. */
export async function removed(request) {
  try {
    await request;
  } catch (error) {
    if (error.status !== 404) throw error;
  }
}
