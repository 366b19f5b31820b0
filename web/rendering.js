// The boards that variants are kept ready for, all rendering at once, and what the disk holds.

import * as api from './api.js';
import { button, h, setText } from './dom.js';
import { confirm } from './cards.js';
import { bytes } from './words.js';

/** Changes come in bursts; the numbers are read again once they are over. */
const CALM_MS = 1000;

const POLICIES = [['', 'as the server'], ['render', 'render'], ['gate', 'reject, with a command']];

export class Rendering {
  #timer = null;
  #paused = false;

  #onpaused;

  /** `onpaused` hears whether all rendering is paused. */
  constructor(box, { onpaused = () => {} } = {}) {
    this.box = box;
    this.#onpaused = onpaused;
    this.summary = h('p', { class: 'quiet' });
    this.pause = button('Pause all', () => this.#change({ paused: !this.#paused }));
    this.retry = button('Try all failed again', () => this.#change({ retry: true }));
    this.inTurn = button('Render all in turn', () => this.#change({ priority: 0 }));
    this.cancel = button('Cancel all', () => this.#confirmCancel());
    this.boards = h('ul', { class: 'enrolled' });
    this.choice = h('select', { id: 'enrol-board' });
    this.enrol = button('Enrol', () => this.#try(async () => api.enrolBoard(this.choice.value, null)), { picture: 'add' });
    this.add = h('div', { class: 'enrol' }, h('label', { for: 'enrol-board', text: 'Keep variants ready for' }), this.choice, this.enrol);
    this.disk = h('div', { class: 'disk' });
    this.trouble = h('p', { class: 'failure-text', role: 'alert' });
    box.append(
      h('header', { class: 'lives-head' }, h('h2', { id: 'rendering-title', text: 'Boards and rendering' }), this.summary,
        h('div', { class: 'actions' }, this.retry, this.inTurn, this.pause, this.cancel)),
      this.boards, this.add, this.trouble, this.disk);
  }

  /** Something changed; what that means here is read soon. */
  changed() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.sync().catch(() => {});
    }, CALM_MS);
  }

  async sync() {
    const [all, boards, status] = await Promise.all([api.getRendering(), api.listBoards(), api.getStatus()]);
    this.#paused = all.paused;
    this.#onpaused(all.paused);
    this.#drawWork(all);
    this.#drawBoards(boards);
    this.#drawDisk(status);
    this.box.hidden = false;
  }

  #drawWork({ paused, unfinished, done, failed, cancelled, variants }) {
    const parts = [unfinished && `${unfinished} to render`, `${done} ready`, failed && `${failed} failed`, cancelled && `${cancelled} cancelled`, paused && 'all paused'];
    setText(this.summary, parts.filter(Boolean).join(', '));
    setText(this.pause, paused ? 'Resume all' : 'Pause all');
    this.pause.hidden = !paused && unfinished === 0;
    this.inTurn.hidden = variants.every(({ priority }) => priority === 0);
    this.retry.hidden = failed + cancelled === 0;
    this.cancel.hidden = unfinished === 0;
  }

  #drawBoards(boards) {
    const enrolled = boards.filter((board) => board.enrolled);
    const focus = document.activeElement?.id;
    this.boards.replaceChildren(...enrolled.map((board) => this.#row(board)));
    const others = boards.filter((board) => !board.enrolled);
    const chosen = this.choice.value;
    this.choice.replaceChildren(...others.map(({ id, name }) => h('option', { value: id, text: name })));
    if (others.some(({ id }) => id === chosen)) this.choice.value = chosen;
    this.add.hidden = others.length === 0;
    if (focus) document.getElementById(focus)?.focus();
  }

  #row({ id, name, target, enrolled }) {
    const select = h('select', { id: `policy-${id}`, 'aria-label': `What is done about files that ${name} cannot play`, onchange: () => this.#try(() => api.enrolBoard(id, select.value || null)) },
      POLICIES.map(([value, text]) => h('option', { value, text: value ? text : `${text} (${enrolled.renders && !enrolled.policy ? 'render' : enrolled.policy ? 'default' : 'reject'})` })));
    select.value = enrolled.policy ?? '';
    return h('li', {},
      h('span', { class: 'variant-board', text: name }),
      h('span', { class: 'quiet', text: `variants as ${target}` }),
      select,
      button('Remove', () => this.#confirmRemoval(id, name), { label: `Keep no variants ready for ${name}` }));
  }

  #drawDisk({ disk_bytes: whole, free_bytes: free, used }) {
    if (!used || !whole) return;
    const parts = [['originals', used.originals], ['variants', used.variants], ['streams', used.streams]];
    const bar = h('div', { class: 'disk-bar', role: 'img', 'aria-label': `${bytes(free)} of ${bytes(whole)} free` },
      ...parts.map(([kind, size]) => {
        const part = h('span', { data: { kind } });
        part.style.flexGrow = String(size / whole);
        return part;
      }));
    const rest = h('span', { data: { kind: 'other' } });
    rest.style.flexGrow = String(Math.max(0, whole - free - parts.reduce((sum, [, size]) => sum + size, 0)) / whole);
    const empty = h('span', { data: { kind: 'free' } });
    empty.style.flexGrow = String(free / whole);
    bar.append(rest, empty);
    const words = parts.map(([kind, size]) => h('span', { data: { kind }, text: `${kind} ${bytes(size)}` }));
    this.disk.replaceChildren(bar, h('p', { class: 'disk-words quiet' }, ...words, h('span', { data: { kind: 'free' }, text: `${bytes(free)} free of ${bytes(whole)}` })));
  }

  async #try(act) {
    setText(this.trouble, '');
    try {
      await act();
      await this.sync();
    } catch (error) {
      setText(this.trouble, `Not done: ${error.message}.`);
    }
  }

  #change(change) {
    return this.#try(() => api.changeVariants(null, change));
  }

  #confirmCancel() {
    confirm({
      title: 'Cancel all rendering?',
      text: ['What is not ready yet is left alone until you ask for it again. What is ready stays.'],
      yes: 'Cancel all', no: 'Go on rendering', failed: 'Not cancelled',
      act: async () => {
        await api.changeVariants(null, { cancel: true });
        await this.sync();
      },
    });
  }

  #confirmRemoval(id, name) {
    confirm({
      title: `Keep no variants ready for ${name}?`,
      text: ['Variants that only these boards play are deleted. They can be rendered again.'],
      yes: 'Remove', no: 'Keep them', failed: 'Not removed',
      act: async () => {
        await api.removeBoard(id);
        await this.sync();
      },
    });
  }
}
