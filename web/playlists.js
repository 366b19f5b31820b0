// What screens play: the sheet where playlists are put together. An item stands for an asset and
// says when it plays; the server keeps the whole list at once and refuses one that somebody else
// changed meanwhile.

import * as api from './api.js';
import { confirm, removed } from './cards.js';
import { button, h, icon, setText } from './dom.js';
import { closeOutside } from './verdict.js';
import { fileName } from './words.js';

const DAYS = { mon: 'Mo', tue: 'Tu', wed: 'We', thu: 'Th', fri: 'Fr', sat: 'Sa', sun: 'Su' };
/** So many names stand in a line. */
const SHOWN = 3;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;

/** The playlists and what they play now, below the videos. */
export class Playlists {
  constructor(box) {
    this.box = box;
    this.list = h('ul', { class: 'enrolled' });
    box.append(
      h('header', { class: 'lives-head' }, h('h2', { id: 'screens-title', text: 'What screens play' })),
      this.list);
    // What somebody else changes is seen when the page is read again.
    addEventListener('kinora-playlists', () => this.sync().catch(() => {}));
  }

  async sync() {
    const lists = await api.listPlaylists();
    const now = await Promise.all(lists.map(({ name }) => api.playingNow(name)));
    this.list.replaceChildren(...lists.map(({ name, items }, at) => this.#row(name, items.length, now[at].items)));
    this.box.hidden = false;
  }

  #row(name, count, now) {
    const names = now.slice(0, SHOWN).map((item) => fileName(item.name));
    if (now.length > SHOWN) names.push(`${now.length - SHOWN} more`);
    const words = count === 0 ? 'nothing yet' : `${now.length} of ${count} now${names.length ? `: ${names.join(', ')}` : ''}`;
    return h('li', {},
      h('span', { class: 'variant-board', text: name }),
      h('span', { class: 'quiet' }, h('bdi', { text: words })),
      button('Change', () => showPlaylists(name), { label: `Change what ${name} plays` }));
  }
}

/** Opens the sheet; `name` is the list that is shown first. */
export async function showPlaylists(name = 'default') {
  const sheet = document.getElementById('playlists');
  const close = () => sheet.close();
  const body = h('div', { class: 'sheet-body' });
  sheet.replaceChildren(
    h('header', { class: 'sheet-head' },
      h('div', {}, h('h2', { id: 'playlists-title', text: 'Playlists for screens' })),
      h('button', { type: 'button', class: 'button bare', 'aria-label': 'Close', onclick: close }, icon('close'))),
    body);
  closeOutside(sheet);
  if (!sheet.open) sheet.showModal();
  try {
    const [lists, { assets }] = await Promise.all([api.listPlaylists(), api.listAssets(500)]);
    // What plays may be older than what is offered.
    const known = new Set(assets.map(({ id }) => id));
    const others = new Set(lists.flatMap(({ items }) => items.map(({ asset }) => asset)).filter((id) => !known.has(id)));
    const older = await Promise.allSettled([...others].map(api.getAssetById));
    new Editor(body, lists, [...assets, ...older.flatMap(({ value }) => value ?? [])]).show(name);
  } catch (error) {
    body.replaceChildren(h('p', { class: 'failure-text', text: `The playlists cannot be read: ${error.message}.` }));
  }
}

class Editor {
  #body;
  #lists;
  #assets;
  #list;
  #items = h('ol', { class: 'items' });
  #said = h('p', { role: 'status' });

  constructor(body, lists, assets) {
    this.#body = body;
    this.#lists = lists;
    this.#assets = assets;
  }

  show(name) {
    this.#list = structuredClone(this.#lists.find((list) => list.name === name)
      ?? { name, version: 0, time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC', items: [] });
    const which = h('select', { id: 'playlist-which', onchange: () => this.show(which.value) },
      [...new Set([...this.#lists.map((list) => list.name), name])].map((each) => h('option', { value: each, text: each, selected: each === name })));
    const zone = h('input', { type: 'text', id: 'playlist-zone', value: this.#list.time_zone, autocomplete: 'off', spellcheck: 'false', oninput: () => { this.#list.time_zone = zone.value.trim(); } });
    const asset = h('select', { id: 'playlist-asset' }, this.#assets.map((each) => h('option', { value: each.id, text: fileName(each.name) })));
    const add = button('Add', () => {
      if (!asset.value) return;
      this.#list.items.push({ asset: asset.value, duration_s: 10, enabled: true });
      this.#draw();
    }, { picture: 'add', label: 'Add to the playlist' });
    const fresh = h('input', { type: 'text', id: 'playlist-new', maxlength: '64', placeholder: 'hall', autocomplete: 'off' });
    const make = button('New', () => {
      if (NAME.test(fresh.value.trim())) this.show(fresh.value.trim());
      else setText(this.#said, 'A name has letters, digits, - _ and . only, 64 at most.');
    }, { label: 'Begin a new playlist' });
    const drop = button('Remove', () => confirm({
      title: `Remove the playlist ${name}?`, text: ['Screens that play it have nothing to play then. The videos stay.'],
      yes: 'Remove', no: 'Keep it', failed: 'Not removed',
      act: async () => {
        await removed(api.removePlaylist(name));
        this.#lists = await api.listPlaylists();
        this.show('default');
        dispatchEvent(new Event('kinora-playlists'));
      },
    }), { kind: 'danger' });
    setText(this.#said, '');
    this.#body.replaceChildren(
      h('div', { class: 'field' }, h('label', { for: which.id, text: 'Playlist' }), which),
      h('div', { class: 'field' }, h('label', { for: fresh.id, text: 'Another one' }), h('div', { class: 'beside' }, fresh, make)),
      h('div', { class: 'field' }, h('label', { for: zone.id, text: 'Clock of' }), zone),
      h('h3', { text: 'In this order' }), this.#items,
      h('div', { class: 'field' }, h('label', { for: asset.id, text: 'Video or image' }), h('div', { class: 'beside' }, asset, add)),
      this.#said,
      h('div', { class: 'actions end' }, drop, button('Save', () => this.#save(), { kind: 'strong' })));
    this.#draw();
  }

  async #save() {
    const { name, version, time_zone, items } = this.#list;
    try {
      const saved = await api.putPlaylist(name, version, { time_zone, items });
      this.#lists = [...this.#lists.filter((list) => list.name !== name), saved];
      this.show(name);
      setText(this.#said, 'Saved.');
      dispatchEvent(new Event('kinora-playlists'));
    } catch (error) {
      setText(this.#said, `Not saved: ${error.message}.`);
    }
  }

  #move(from, by) {
    const to = from + by;
    const { items } = this.#list;
    if (to < 0 || to >= items.length) return;
    [items[from], items[to]] = [items[to], items[from]];
    this.#draw();
  }

  #draw() {
    const { items } = this.#list;
    this.#items.replaceChildren(...items.map((item, place) => this.#item(item, place)));
    if (!items.length) this.#items.replaceChildren(h('li', { class: 'quiet', text: 'Nothing yet.' }));
  }

  #item(item, place) {
    const asset = this.#assets.find((each) => each.id === item.asset);
    const name = asset ? fileName(asset.name) : `${item.asset} (gone)`;
    const id = (what) => `item-${place}-${what}`;
    const input = (what, type, label, value, write, more = {}) => {
      const field = h('input', { type, id: id(what), value: value ?? '', onchange: () => write(field.value || undefined), ...more });
      return h('div', { class: 'field' }, h('label', { for: field.id, text: label }), field);
    };
    const hours = item.hours?.[0];
    const setHours = (part, value) => {
      const now = { from: '00:00', to: '00:00', ...item.hours?.[0], ...(value ? { [part]: value } : {}) };
      if (value) item.hours = [now, ...(item.hours ?? []).slice(1)];
      else delete item.hours;
    };
    const tick = (what, label, checked, write) => {
      const box = h('input', { type: 'checkbox', id: id(what), checked, onchange: () => write(box.checked) });
      return h('label', { class: 'tick', for: box.id }, box, label);
    };
    const day = (key, checked) => {
      const days = new Set(item.days ?? []);
      if (checked) days.add(key);
      else days.delete(key);
      item.days = Object.keys(DAYS).filter((each) => days.has(each));
    };
    return h('li', { class: 'item' },
      h('div', { class: 'item-head' }, h('p', { class: 'token-name' }, h('bdi', { text: name })),
        h('div', { class: 'actions' },
          button('Up', () => this.#move(place, -1), { label: `Move ${name} up` }),
          button('Down', () => this.#move(place, 1), { label: `Move ${name} down` }),
          button('Remove', () => { this.#list.items.splice(place, 1); this.#draw(); }, { kind: 'danger', label: `Take ${name} out` }))),
      h('details', {}, h('summary', { text: when(item) }),
        h('div', { class: 'item-when' },
          tick('on', 'Plays', item.enabled, (on) => { item.enabled = on; }),
          input('seconds', 'number', 'Seconds, if an image', item.duration_s, (value) => { item.duration_s = Number(value) || 10; }, { min: '1', max: '86400' }),
          input('from', 'date', 'First day', item.from, (value) => { item.from = value; }),
          input('to', 'date', 'Last day', item.to, (value) => { item.to = value; }),
          input('begin', 'time', 'From', hours?.from, (value) => setHours('from', value)),
          input('end', 'time', 'Until', hours?.to, (value) => setHours('to', value)),
          h('fieldset', { class: 'days' }, h('legend', { text: 'Days; none means all' }),
            Object.entries(DAYS).map(([key, label]) => tick(key, label, (item.days ?? []).includes(key), (on) => day(key, on)))))));
  }
}

/** When an item plays, in a line. */
export function when({ enabled, from, to, days = [], hours = [] }) {
  if (!enabled) return 'Does not play';
  const parts = [
    from && to ? `${from} to ${to}` : from ? `from ${from}` : to ? `until ${to}` : null,
    days.length ? days.map((day) => DAYS[day]).join(' ') : null,
    hours.length ? hours.map((each) => `${each.from}–${each.to}`).join(', ') : null,
  ].filter(Boolean);
  return parts.length ? parts.join(', ') : 'Always';
}
