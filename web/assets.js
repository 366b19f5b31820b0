// The list of videos. One `Card` per asset, made once and then patched: an event that
// changes a progress bar touches that bar and nothing else, so a playing video, the
// focus and an open menu survive everything that goes on around them.

import * as api from './api.js';
import { Bar, announce, button, h, icon, setText } from './dom.js';
import { Player } from './player.js';
import { BoardStrip, closeOutside, copyText } from './verdict.js';
import { bytes, clock, facts, fileName, left, mainVideo } from './words.js';

export class AssetList {
  #section;
  #cards = new Map();
  #onchange;
  #touched = null;
  thisBoard = null;

  constructor(section, { onchange }) {
    this.#section = section;
    this.#onchange = onchange;
  }

  get empty() {
    return this.#cards.size === 0;
  }

  /** Reads the whole list. What events said while the answer was under way is newer and stays. */
  async sync() {
    const touched = (this.#touched = new Set());
    const assets = await api.listAssets();
    if (this.#touched !== touched) return;
    this.#touched = null;
    const present = new Set(assets.map(({ id }) => id));
    for (const id of [...this.#cards.keys()]) if (!present.has(id) && !touched.has(id)) this.#take(id);
    // Oldest first, so that each goes on top of the ones before it.
    for (const asset of assets.reverse()) if (!touched.has(asset.id)) this.#put(asset);
    this.#onchange();
  }

  apply(asset) {
    this.#touched?.add(asset.id);
    this.#put(asset);
    this.#onchange();
  }

  remove(id) {
    this.#touched?.add(id);
    const card = this.#cards.get(id);
    this.#take(id);
    if (card) announce(`${fileName(card.asset.name)} was removed`);
    this.#onchange();
  }

  /** The server is back: a player that gave up meanwhile tries again. */
  wake() {
    for (const card of this.#cards.values()) card.player?.wake();
  }

  showThisBoard(board) {
    this.thisBoard = board;
    for (const card of this.#cards.values()) card.update(card.asset);
  }

  #put(asset) {
    const known = this.#cards.get(asset.id);
    if (known) {
      known.update(asset);
      return;
    }
    const card = new Card(asset, this);
    this.#cards.set(asset.id, card);
    // Newest first. Cards that are there never move: moving one would stop its video.
    const next = [...this.#section.children].find((other) => other.dataset.created <= asset.created);
    this.#section.insertBefore(card.element, next ?? null);
  }

  #take(id) {
    const card = this.#cards.get(id);
    if (!card) return;
    this.#cards.delete(id);
    const focused = card.element.contains(document.activeElement);
    const neighbour = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.stop();
    card.element.remove();
    if (focused) (neighbour?.querySelector('.name') ?? document.getElementById('add')).focus();
  }

  /** One video plays at a time. */
  playing(card) {
    for (const other of this.#cards.values()) if (other !== card) other.stop();
  }
}

class Card {
  asset;
  player = null;
  #list;
  #factsOf = '';
  #said = '';

  constructor(asset, list) {
    this.#list = list;
    const name = fileName(asset.name);
    this.picture = h('span', { class: 'picture' });
    this.length = h('span', { class: 'length' });
    this.thumb = h('button', { type: 'button', class: 'thumb', onclick: () => this.play() }, this.picture, h('span', { class: 'go' }, icon('plays')), this.length);
    this.name = h('bdi', { text: name });
    this.facts = h('dl', { class: 'facts' });
    this.bar = new Bar(`Stream of ${name}`);
    this.work = h('p', { class: 'work-text' });
    this.workBox = h('div', { class: 'work' }, this.work, this.bar.element);
    this.failure = h('p', { class: 'failure-text' });
    this.failureBox = h('div', { class: 'failure' }, icon('alert'), this.failure);

    const named = (verb) => ({ label: `${verb} ${name}` });
    this.playButton = button('Play', () => this.play(), { kind: 'strong', picture: 'plays', ...named('Play') });
    this.make = button('Make a stream', () => this.#ask(api.wantStream), named('Make a stream of'));
    this.stopMaking = button('Stop', () => this.#ask(api.dropStream), named('Stop making the stream of'));
    this.copy = button('Copy stream address', () => this.#copyAddress(), named('Copy the stream address of'));
    this.original = h('a', { class: 'button', href: api.fileUrl(asset.id), download: asset.name, 'aria-label': `Download the original of ${name}`, text: 'Download original' });
    this.removeButton = button('Remove', () => this.#confirmRemoval(), { kind: 'danger', ...named('Remove') });
    this.actions = h('div', { class: 'actions' }, this.playButton, this.make, this.copy, this.original, this.stopMaking, this.removeButton);

    this.strip = new BoardStrip();
    const title = `asset-${asset.id}`;
    this.element = h('article', { class: 'asset', 'aria-labelledby': title, data: { id: asset.id, created: asset.created } },
      h('div', { class: 'asset-in' }, this.thumb,
        h('div', { class: 'asset-text' },
          h('h2', { class: 'name', id: title, tabindex: '-1' }, this.name), this.facts, this.failureBox, this.workBox, this.actions)),
      this.strip.element);
    this.update(asset);
  }

  update(asset) {
    this.asset = asset;
    const { element } = this;
    element.dataset.state = asset.state;
    element.dataset.stream = asset.stream?.state ?? 'none';
    setText(this.name, fileName(asset.name));
    this.#drawPicture(asset);
    this.#drawFacts(asset);
    this.#drawWork(asset);
    this.#drawFailure(asset);
    this.strip.update(asset, this.#list.thisBoard);

    const video = Boolean(mainVideo(asset.probe));
    const playable = Boolean(asset.stream?.url);
    const making = ['waiting', 'running'].includes(asset.stream?.state);
    this.thumb.disabled = !playable;
    this.thumb.setAttribute('aria-label', playable ? `Play ${fileName(asset.name)}` : `${fileName(asset.name)}, no stream to play yet`);
    this.playButton.hidden = !playable || this.player !== null;
    this.copy.hidden = !playable;
    this.stopMaking.hidden = !making;
    this.make.hidden = asset.state !== 'ready' || !video || making || asset.stream?.state === 'done';
    setText(this.make, asset.stream?.state === 'failed' ? 'Try the stream again' : 'Make a stream');
    this.original.hidden = asset.state === 'probing' || !asset.cid;
    if (this.player && !playable) this.stop();
    this.player?.update(asset);
  }

  play() {
    if (this.player) {
      this.player.video.focus();
      return;
    }
    this.#list.playing(this);
    this.player = new Player(this.asset, {
      onclose: () => {
        this.stop();
        this.playButton.focus();
      },
    });
    this.element.classList.add('playing');
    this.element.prepend(this.player.element);
    this.update(this.asset);
    this.player.video.focus({ preventScroll: true });
    this.player.element.scrollIntoView({ block: 'nearest' });
    this.player.start();
  }

  stop() {
    if (!this.player) return;
    this.player.close();
    this.player = null;
    this.element.classList.remove('playing');
    this.update(this.asset);
  }

  #drawPicture(asset) {
    this.element.classList.toggle('pictured', Boolean(asset.thumbnail));
    if (asset.thumbnail) {
      if (this.picture.dataset.src !== asset.thumbnail) {
        this.picture.dataset.src = asset.thumbnail;
        const image = h('img', { src: asset.thumbnail, alt: '', loading: 'lazy', decoding: 'async' });
        image.onerror = () => image.replaceWith(icon('film'));
        this.picture.replaceChildren(image);
      }
    } else if (!this.picture.firstChild) {
      this.picture.append(icon('film'));
    }
    setText(this.length, clock(asset.probe?.duration_s ?? NaN));
  }

  #drawFacts(asset) {
    const rows = asset.probe ? facts(asset.probe, asset.size) : asset.size ? [['File', bytes(asset.size)]] : [];
    const key = JSON.stringify(rows);
    if (key === this.#factsOf) return;
    this.#factsOf = key;
    this.facts.replaceChildren(...rows.map(([label, text]) => h('div', {}, h('dt', { text: label }), h('dd', { text }))));
  }

  #drawWork(asset) {
    const { stream } = asset;
    const name = fileName(asset.name);
    let text = '';
    let fraction;
    if (asset.state === 'probing') {
      text = 'Looking at what is in the file…';
      fraction = null;
    } else if (stream?.state === 'waiting') {
      text = 'The stream waits for its turn';
      fraction = null;
    } else if (stream?.state === 'running') {
      const { progress } = stream;
      fraction = progress?.fraction ?? null;
      text = ['Making the stream', fraction === null ? null : `${Math.floor(fraction * 100)} %`, left(progress?.eta_s ?? NaN), progress?.speed ? `${progress.speed.toFixed(1)} × real time` : null].filter(Boolean).join(' · ');
    } else if (stream?.state === 'done') {
      const rungs = (stream.rungs ?? []).map(({ name: rung }) => rung).join(', ');
      text = `Stream ready${rungs ? `: ${rungs}` : ''}`;
    }
    this.workBox.hidden = !text;
    this.bar.element.hidden = fraction === undefined;
    setText(this.work, text);
    if (fraction !== undefined) this.bar.set(fraction);
    this.#say(asset, fraction, name);
  }

  /** Screen readers hear of each stage once and of progress in quarters. */
  #say(asset, fraction, name) {
    const state = asset.state === 'ready' ? asset.stream?.state ?? 'none' : asset.state;
    const quarter = typeof fraction === 'number' ? Math.floor(fraction * 4) * 25 : 0;
    const stage = `${state} ${quarter}`;
    const first = this.#said === '';
    if (stage === this.#said) return;
    this.#said = stage;
    if (first) return;
    if (state === 'running' && quarter) announce(`${name}: ${quarter} % of the stream is made`);
    else if (state === 'done') announce(`${name}: the stream is ready`);
    else if (state === 'failed') announce(`${name}: ${asset.error ?? asset.stream?.error ?? 'failed'}`);
  }

  #drawFailure(asset) {
    let text = '';
    if (asset.state === 'failed') text = `This file cannot be used. ${asset.error ?? `${fileName(asset.name)}: it could not be read`}`;
    else if (asset.stream?.state === 'failed') text = `The stream was not made. ${asset.stream.error ?? `${fileName(asset.name)}: the encoder stopped`}`;
    if (text && !/[.!?]$/.test(text)) text += '.';
    if (asset.state === 'failed') text += ' Remove it, or add a copy that plays elsewhere.';
    this.failureBox.hidden = !text;
    setText(this.failure, fileName(text));
  }

  async #ask(request) {
    try {
      await request(this.asset.id);
    } catch (error) {
      this.#trouble(error);
    }
  }

  #trouble(error) {
    this.failureBox.hidden = false;
    const text = `${fileName(this.asset.name)}: ${error.message}. Try again in a moment.`;
    setText(this.failure, text);
    announce(text);
  }

  async #copyAddress() {
    const done = await copyText(new URL(this.asset.stream.url, document.baseURI).href, null);
    setText(this.copy, done ? 'Address copied' : 'Copying is not allowed here');
    if (done) announce('Stream address copied');
    this.copy.addEventListener('blur', () => setText(this.copy, 'Copy stream address'), { once: true });
  }

  #confirmRemoval() {
    const dialog = document.getElementById('confirm');
    const asset = this.asset;
    const problem = h('p', { class: 'failure-text', role: 'alert' });
    const yes = button('Remove', async () => {
      yes.disabled = true;
      try {
        await api.removeAsset(asset.id);
      } catch (error) {
        if (error.status !== 404) {
          yes.disabled = false;
          setText(problem, `Not removed: ${error.message}.`);
          return;
        }
      }
      dialog.close();
      this.#list.remove(asset.id);
    }, { kind: 'danger solid' });
    const no = button('Keep it', () => dialog.close());
    no.autofocus = true;
    dialog.replaceChildren(
      h('div', { class: 'sheet-body' },
        h('h2', { id: 'confirm-title', text: 'Remove this video?' }),
        h('p', { id: 'confirm-text' }, h('bdi', { class: 'strong', text: fileName(asset.name) }), ' and its stream will be deleted from this server. Screens that play the stream will stop.'),
        problem,
        h('div', { class: 'actions end' }, no, yes)));
    closeOutside(dialog);
    dialog.showModal();
  }
}
