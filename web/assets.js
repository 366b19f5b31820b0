// The list of videos: one card for each asset, with what is in the file, which boards play
// it, and how far its stream is.

import * as api from './api.js';
import { CardList, PlayableCard, confirm, removed } from './cards.js';
import { Bar, announce, button, h, icon, setText } from './dom.js';
import { VariantTable } from './variants.js';
import { BoardStrip } from './verdict.js';
import { bytes, clock, facts, fileName, left, mainVideo } from './words.js';

/** Cards at first, and with each wish for more. */
const PAGE = 100;

/** Fewer than these are found without a search. */
const MANY = 12;

export class AssetList extends CardList {
  thisBoard = null;
  paused = false;
  #limit = PAGE;
  #total = 0;
  #search = '';
  #onlist;

  /** `tools` holds the search, `more` the way to older videos. */
  constructor(section, { tools, more, onlist = () => {}, ...options }) {
    super(section, { read: () => this.#read(), key: ({ id }) => id, make: (asset, list) => new Card(asset, list), ...options });
    this.#onlist = onlist;
    this.tools = tools;
    this.count = h('p', { class: 'quiet', role: 'status' });
    this.field = h('input', { type: 'search', id: 'search', maxlength: '200', placeholder: 'Name', autocomplete: 'off', spellcheck: 'false' });
    this.field.addEventListener('input', () => this.#find(this.field.value.trim()));
    this.more = button('Show older videos', () => this.#grow());
    tools.append(h('label', { class: 'sr', for: 'search', text: 'Find videos by name' }), this.field, this.count);
    more.append(this.more);
    this.more.hidden = true;
  }

  /** Nothing is here, which is not the same as that nothing was found. */
  get empty() {
    return super.empty && !this.#search;
  }

  async #read() {
    const search = this.#search;
    const { assets, total } = await api.listAssets(this.#limit, search);
    // A later word was typed meanwhile; its answer is on its way.
    if (search === this.#search) this.#total = total;
    this.more.hidden = assets.length >= total;
    this.tools.hidden = !search && total < MANY;
    setText(this.count, search ? (total === 1 ? '1 video is called so' : `${total} videos are called so`) : `${total} videos`);
    this.#onlist();
    return assets;
  }

  #find(search) {
    if (search === this.#search) return;
    this.#search = search;
    this.#limit = PAGE;
    this.sync().catch((error) => setText(this.count, `Not searched: ${error.message}`));
  }

  async #grow() {
    this.#limit += PAGE;
    await this.sync().catch(() => {});
  }

  /** News of a video that is on no shown page is none. */
  apply(asset) {
    if (!this.cards.has(asset.id)) {
      if (this.#search && !asset.name.toLowerCase().includes(this.#search.toLowerCase())) return;
      const oldest = [...this.cards.values()].reduce((old, { asset: { created } }) => (created < old ? created : old), '9');
      if (this.cards.size < this.#total && asset.created < oldest) return;
    }
    super.apply(asset);
  }

  /** All rendering is paused, or goes on. */
  showPaused(paused) {
    if (paused === this.paused) return;
    this.paused = paused;
    for (const card of this.cards.values()) card.draw();
  }

  showThisBoard(board) {
    this.thisBoard = board;
    for (const card of this.cards.values()) card.draw();
  }
}

class Card extends PlayableCard {
  asset;
  #list;
  #factsOf = '';
  #said = '';

  constructor(asset, list) {
    const name = fileName(asset.name);
    super(list, name);
    this.#list = list;
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
    this.make = button('Make a stream', () => this.#ask(api.wantStream), named('Make a stream of'));
    this.stopMaking = button('Stop', () => this.#ask(api.dropStream), named('Stop making the stream of'));
    this.original = h('a', { class: 'button', href: api.fileUrl(asset.id), download: asset.name, 'aria-label': `Download the original of ${name}`, text: 'Download original' });
    this.removeButton = button('Remove', () => this.#confirmRemoval(), { kind: 'danger', ...named('Remove') });
    this.actions = h('div', { class: 'actions' }, this.playButton, this.make, this.copy, this.original, this.stopMaking, this.removeButton);

    this.strip = new BoardStrip();
    this.variants = new VariantTable(name);
    const title = `asset-${asset.id}`;
    this.element = h('article', { class: 'asset', 'aria-labelledby': title, data: { id: asset.id, created: asset.created } },
      h('div', { class: 'asset-in' }, this.thumb,
        h('div', { class: 'asset-text' },
          h('h2', { class: 'name', id: title, tabindex: '-1' }, this.name), this.facts, this.failureBox, this.workBox, this.actions)),
      this.strip.element, this.variants.element);
    this.update(asset);
  }

  update(asset) {
    this.asset = asset;
    this.draw();
  }

  get title() {
    const { id, name, thumbnail, stream, probe } = this.asset;
    return {
      id, name, url: stream?.url ?? null, poster: thumbnail, live: false, making: stream?.state === 'running',
      total_s: stream?.progress?.total_s ?? probe?.duration_s, waiting: null,
    };
  }

  draw() {
    const { asset, element } = this;
    element.dataset.state = asset.state;
    element.dataset.stream = asset.stream?.state ?? 'none';
    setText(this.name, fileName(asset.name));
    this.#drawPicture(asset);
    this.#drawFacts(asset);
    this.#drawWork(asset);
    this.#drawFailure(asset);
    this.strip.update(asset, this.#list.thisBoard);
    this.variants.update(asset, this.#list.paused);

    const video = Boolean(mainVideo(asset.probe));
    const playable = Boolean(asset.stream?.url);
    const making = ['waiting', 'running'].includes(asset.stream?.state);
    this.thumb.disabled = !playable;
    this.thumb.setAttribute('aria-label', playable ? `Play ${fileName(asset.name)}` : `${fileName(asset.name)}, no stream to play yet`);
    this.stopMaking.hidden = !making;
    this.make.hidden = asset.state !== 'ready' || !video || asset.probe.picture || making || asset.stream?.state === 'done';
    setText(this.make, asset.stream?.state === 'failed' ? 'Try the stream again' : 'Make a stream');
    this.original.hidden = asset.state === 'probing' || !asset.cid;
    this.drawPlayer();
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

  #confirmRemoval() {
    const { id, name } = this.asset;
    confirm({
      title: 'Remove this video?',
      text: [h('bdi', { class: 'strong', text: fileName(name) }), ' and its stream will be deleted from this server. Screens that play the stream will stop.'],
      yes: 'Remove', no: 'Keep it', failed: 'Not removed',
      act: async () => {
        await removed(api.removeAsset(id));
        this.#list.remove(id);
      },
    });
  }
}
