// What each board makes of a file: a strip with one chip per board, and the sheet that
// a chip opens with the reasons, what would be rendered, and a command to paste. The
// objects are those of `kinora check --json`. A verdict is told by shape, word and
// colour, never by colour alone.

import { announce, button, h, icon, setText } from './dom.js';
import { fileName, target, variant } from './words.js';

const WORD = { plays: 'Plays', render: 'Needs a render', reject: 'Can’t play' };

/** Chips for one asset. Chips are kept while their board stays, so focus survives updates. */
export class BoardStrip {
  #chips = new Map();
  #verdicts = new Map();
  #asset = null;

  constructor() {
    this.summary = h('p', { class: 'boards-sum' });
    this.list = h('ul', { class: 'strip' });
    this.element = h('section', { class: 'boards', 'aria-label': 'Boards' }, this.summary, this.list);
  }

  update(asset, thisBoard) {
    this.#asset = asset;
    const verdicts = asset.verdicts ?? [];
    this.element.hidden = verdicts.length === 0;
    this.#verdicts = new Map(verdicts.map((verdict) => [verdict.board, verdict]));
    for (const [board, chip] of this.#chips) {
      if (this.#verdicts.has(board)) continue;
      chip.item.remove();
      this.#chips.delete(board);
    }
    for (const verdict of verdicts) {
      const chip = this.#chips.get(verdict.board) ?? this.#add(verdict.board);
      const word = wordOf(verdict);
      if (chip.button.dataset.verdict !== verdict.verdict) {
        chip.button.dataset.verdict = verdict.verdict;
        chip.lamp.replaceChildren(icon(verdict.verdict));
      }
      setText(chip.name, verdict.name ?? verdict.board);
      setText(chip.word, word);
      chip.here.hidden = verdict.board !== thisBoard;
      chip.button.setAttribute('aria-label', `${verdict.name ?? verdict.board}: ${word}${chip.here.hidden ? '' : ', this machine'}. Show why.`);
    }
    setText(this.summary, summaryOf(verdicts));
  }

  #add(board) {
    const lamp = h('span', { class: 'lamp' });
    const name = h('span', { class: 'chip-name' });
    const word = h('span', { class: 'chip-word' });
    const here = h('span', { class: 'here', text: 'this machine' });
    const chip = h('button', { type: 'button', class: 'chip', 'aria-haspopup': 'dialog', data: { board }, onclick: () => openSheet(this.#asset, this.#verdicts.get(board)) },
      lamp, h('span', { class: 'chip-text' }, name, word, here));
    const item = h('li', {}, chip);
    this.list.append(item);
    const made = { item, button: chip, lamp, name, word, here };
    this.#chips.set(board, made);
    return made;
  }
}

function wordOf(verdict) {
  if (verdict.verdict === 'plays' && verdict.decoder === 'software') return 'Plays in software';
  return WORD[verdict.verdict] ?? verdict.verdict;
}

function summaryOf(verdicts) {
  const count = (kind) => verdicts.filter(({ verdict }) => verdict === kind).length;
  const [plays, render, reject] = [count('plays'), count('render'), count('reject')];
  if (plays === verdicts.length) return `Plays on all ${plays} boards`;
  const parts = [plays ? `Plays on ${plays} of ${verdicts.length} boards` : 'Plays on no board as it is'];
  if (render) parts.push(`${render} ${render === 1 ? 'needs' : 'need'} a render`);
  if (reject) parts.push(`${reject} can’t play it`);
  return parts.join(', ');
}

/** "codec: the rest" as the gate and its sentence. */
function splitReason(reason) {
  const at = reason.indexOf(': ');
  return at > 0 && at < 30 ? [reason.slice(0, at), reason.slice(at + 2)] : ['', reason];
}

const capital = (text) => (text ? text[0].toUpperCase() + text.slice(1) : text);

function openSheet(asset, verdict) {
  const sheet = document.getElementById('verdict');
  const name = verdict.name ?? verdict.board;
  const close = () => sheet.close();
  const body = [];

  if (verdict.verdict === 'plays') {
    const how = verdict.decoder === 'hardware' ? 'The board’s own decoder handles it' : verdict.decoder === 'software' ? 'The board decodes it on its processor' : 'It plays as it is';
    body.push(h('p', { text: `${how}${verdict.hwdec ? ` (${verdict.hwdec})` : ''}. Nothing has to be done.` }));
  }
  if (verdict.reasons?.length) {
    body.push(h('h3', { text: 'Why' }), h('dl', { class: 'reasons' }, verdict.reasons.map((reason) => {
      const [gate, text] = splitReason(reason);
      return h('div', {}, h('dt', { text: capital(gate) }), h('dd', { text }));
    })));
  }
  if (verdict.verdict !== 'plays') {
    if (verdict.decodes?.length) {
      body.push(h('h3', { text: 'What this board plays' }), ...verdict.decodes.map((row) => h('p', { text: row })));
    }
    const what = verdict.variant ? variant(verdict.variant) : target(verdict.target);
    if (what) body.push(h('h3', { text: verdict.variant ? 'What it would be rendered to' : 'What this board plays best' }), h('p', { text: what }));
  }
  if (verdict.command) body.push(h('h3', { text: 'Make a version that plays' }), command(verdict.command));

  sheet.dataset.verdict = verdict.verdict;
  sheet.replaceChildren(
    h('header', { class: 'sheet-head' },
      h('span', { class: 'lamp' }, icon(verdict.verdict)),
      h('div', {}, h('h2', { id: 'verdict-title', text: `${name}: ${wordOf(verdict)}` }), h('p', { class: 'quiet' }, h('bdi', { text: fileName(asset.name) }))),
      h('button', { type: 'button', class: 'button bare', 'aria-label': 'Close', onclick: close }, icon('close'))),
    h('div', { class: 'sheet-body' }, body));
  closeOutside(sheet);
  sheet.showModal();
}

function command(text) {
  const note = h('span', { class: 'quiet', role: 'status' });
  const code = h('pre', { class: 'command', tabindex: '0', 'aria-label': 'Command' }, h('code', { text }));
  const copy = button('Copy command', async () => {
    const done = await copyText(text, code);
    setText(note, done ? 'Copied' : 'Selected; press Ctrl+C');
    if (done) announce('Command copied');
  }, { kind: 'strong' });
  return h('div', { class: 'command-box' }, code, h('div', { class: 'actions' }, copy, note));
}

/**
 * Copies text. Browsers keep the clipboard to themselves on plain http from another
 * machine, which is how most people on a local network reach this page; there the old
 * way is tried, and failing that the text is left selected.
 */
export async function copyText(text, shown = null) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'sr', 'aria-hidden': 'true', tabindex: '-1' });
    area.value = text;
    const focused = document.activeElement;
    (shown?.closest('dialog') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    focused?.focus();
    if (!done && shown) getSelection().selectAllChildren(shown);
    return done;
  }
}

/** A click on the dimmed page closes a sheet, as Esc does. */
export function closeOutside(sheet) {
  // Returning false would cancel the click, and with it a form's being sent.
  sheet.onclick = (event) => {
    if (event.target === sheet) sheet.close();
  };
}
