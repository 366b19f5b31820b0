// What each enrolled board is to play of a video: a row for each with where its variant stands, and
// what an operator can say about the video's rendering.

import * as api from './api.js';
import { Bar, announce, button, h, setText } from './dom.js';
import { bytes, fileName, left } from './words.js';

const WORD = {
  original: 'Plays the file itself', waiting: 'Waits for its turn', running: 'Is being rendered', done: 'Ready',
  failed: 'Could not be rendered', cancelled: 'Cancelled', rejected: 'Can’t play it',
};

const UNFINISHED = ['waiting', 'running'];

export class VariantTable {
  #rows = new Map();
  #asset = null;
  #allPaused = false;
  #said = '';

  constructor(name) {
    this.name = name;
    this.list = h('ul', { class: 'variant-list' });
    const named = (verb) => ({ label: `${verb} ${name}` });
    this.pause = button('Pause rendering', () => this.#change({ paused: !this.#asset.paused }), named('Pause the rendering of'));
    this.first = button('Render first', () => this.#change({ priority: this.#asset.priority > 0 ? 0 : 1 }), named('Render first:'));
    this.cancel = button('Cancel rendering', () => this.#change({ cancel: true }), named('Cancel the rendering of'));
    this.retry = button('Try again', () => this.#change({ retry: true }), named('Render again what failed of'));
    this.trouble = h('p', { class: 'failure-text', role: 'alert' });
    this.actions = h('div', { class: 'actions' }, this.retry, this.pause, this.first, this.cancel, this.trouble);
    this.summary = h('p', { class: 'boards-sum' });
    this.element = h('section', { class: 'variants', 'aria-label': `What boards play of ${name}` }, this.summary, this.list, this.actions);
  }

  /** `allPaused`: whatever the asset says, nothing is rendered now. */
  update(asset, allPaused = this.#allPaused) {
    this.#asset = asset;
    this.#allPaused = allPaused;
    const variants = asset.variants ?? [];
    this.element.hidden = variants.length === 0;
    const present = new Set(variants.map(({ board }) => board));
    for (const [board, row] of this.#rows) {
      if (present.has(board)) continue;
      row.element.remove();
      this.#rows.delete(board);
    }
    for (const variant of variants) {
      let row = this.#rows.get(variant.board);
      if (!row) {
        row = new Row(this.name);
        this.#rows.set(variant.board, row);
        this.list.append(row.element);
      }
      const verdict = asset.verdicts?.find(({ board }) => board === variant.board);
      row.update(variant, verdict?.name ?? variant.board, asset.paused || allPaused);
    }
    const some = (states) => variants.some(({ state }) => states.includes(state));
    this.retry.hidden = !some(['failed', 'cancelled']);
    this.pause.hidden = !asset.paused && !some(UNFINISHED);
    this.first.hidden = !some(UNFINISHED);
    this.cancel.hidden = !some(UNFINISHED);
    setText(this.pause, asset.paused ? 'Resume rendering' : 'Pause rendering');
    this.pause.setAttribute('aria-label', `${asset.paused ? 'Resume' : 'Pause'} the rendering of ${this.name}`);
    setText(this.first, asset.priority > 0 ? 'Render in turn' : 'Render first');
    this.actions.hidden = [this.retry, this.pause, this.first, this.cancel].every(({ hidden }) => hidden) && !this.trouble.textContent;
    setText(this.summary, summaryOf(variants));
    this.#say(variants);
  }

  /** Screen readers hear what came of it, not how far it is. */
  #say(variants) {
    const ends = variants.filter(({ state }) => state === 'done' || state === 'failed').map(({ board, state }) => `${board} ${state}`).join(', ');
    if (ends && this.#said !== null && ends !== this.#said && this.#said !== '') announce(`${this.name}: ${ends}`);
    this.#said = ends || 'nothing yet';
  }

  async #change(change) {
    setText(this.trouble, '');
    try {
      this.update(await api.changeVariants(this.#asset.id, change));
    } catch (error) {
      this.actions.hidden = false;
      setText(this.trouble, `Not done: ${error.message}.`);
    }
  }
}

/** One board. */
class Row {
  constructor(name) {
    this.board = h('span', { class: 'variant-board' });
    this.state = h('span', { class: 'variant-state' });
    this.bar = new Bar(`Rendering of ${name}`);
    this.error = h('p', { class: 'variant-error' });
    this.log = h('pre', { class: 'command', tabindex: '0', 'aria-label': 'What the renderer said last' });
    this.more = h('details', {}, h('summary', { text: 'What the renderer said last' }), this.log);
    this.warnings = h('p', { class: 'quiet' });
    this.element = h('li', { class: 'variant' }, this.board, this.state, this.bar.element, this.error, this.warnings, this.more);
  }

  update(variant, board, paused) {
    const { state, progress } = variant;
    this.element.dataset.state = state;
    setText(this.board, board);
    setText(this.state, words(variant, paused));
    this.bar.element.hidden = state !== 'running';
    if (state === 'running') this.bar.set(progress?.fraction ?? null);
    this.error.hidden = !variant.error;
    setText(this.error, fileName(variant.error ?? ''));
    const warnings = variant.how?.warnings ?? [];
    this.warnings.hidden = warnings.length === 0;
    setText(this.warnings, fileName(warnings.join('; ')));
    this.more.hidden = !variant.log;
    setText(this.log, variant.log ?? '');
  }
}

function words({ state, progress, size, url, how }, paused) {
  if (paused && UNFINISHED.includes(state)) return 'Paused';
  if (state === 'running' && progress) {
    if (progress.waiting) return 'Waits for room on the disk';
    return [`${Math.floor(progress.fraction * 100)} % rendered`, left(progress.eta_s ?? NaN)].filter(Boolean).join(' · ');
  }
  const plain = WORD[state] ?? state;
  if (state === 'done') return [plain, bytes(size), how?.kind === 'rewrapped' ? 'not encoded again' : null].filter(Boolean).join(' · ');
  if (state !== 'original' && url) return `${plain}; plays the earlier one`;
  return plain;
}

function summaryOf(variants) {
  const ready = variants.filter(({ url }) => url).length;
  return `Ready for ${ready} of ${variants.length} enrolled ${variants.length === 1 ? 'board' : 'boards'}`;
}
