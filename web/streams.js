// The list of streams that have a name: those of live sources, and those that `kinora ladder`
// put into the store. Says of each where it stands, and what it waits for.

import * as api from './api.js';
import { CardList, PlayableCard, confirm, removed } from './cards.js';
import { announce, button, h, icon, setText } from './dom.js';
import { master } from './playlist.js';
import { bitRate, clock, fileName, moment, span } from './words.js';

/** After how long without a picture a source counts as silent. */
const SILENT_MS = 10_000;

export class StreamList extends CardList {
  constructor(section, options) {
    super(section, {
      // What is being removed is gone for who looks.
      read: async () => (await api.listStreams()).filter(({ state }) => state !== 'cancelled'),
      key: ({ name }) => name,
      make: (stream, list) => new Card(stream, list),
      ...options,
    });
  }

  apply(stream) {
    if (stream.state !== 'cancelled') super.apply(stream);
  }

  /** Shows the stream that was just asked for. */
  show(stream) {
    this.apply(stream);
    const { element } = this.cards.get(stream.name);
    element.scrollIntoView({ block: 'nearest' });
    element.querySelector('.name').focus({ preventScroll: true });
  }
}

const WORD = { waiting: 'Waiting', running: 'Live', ended: 'Ended', stored: 'Stored' };
const PICTURE = { connecting: 'render', live: 'live', trouble: 'alert', ended: 'film', stored: 'film', waiting: 'film' };

class Card extends PlayableCard {
  stream;
  #list;
  #rungs = [];
  /** The address and state for which the rungs were asked. */
  #rungsFor = '';
  #silence = 0;
  #silent = false;
  #media = null;
  #said = '';
  #ending = false;

  constructor(stream, list) {
    const name = fileName(stream.name);
    super(list, name);
    this.#list = list;
    this.lamp = h('span', { class: 'lamp' });
    this.word = h('span', { class: 'state-word' });
    this.more = h('span', { class: 'quiet' });
    this.facts = h('dl', { class: 'facts' });
    this.trouble = h('p', { class: 'failure-text' });
    this.troubleBox = h('div', { class: 'failure waits' }, icon('alert'), this.trouble);
    this.stopButton = button('Stop', () => this.#confirmEnd(), { label: `Stop ${name}` });
    this.removeButton = button('Remove', () => this.#confirmRemoval(), { kind: 'danger', label: `Remove ${name}` });
    const title = `stream-${stream.name}`;
    this.element = h('article', { class: 'asset stream', 'aria-labelledby': title, data: { name: stream.name, created: stream.created ?? '' } },
      h('div', { class: 'asset-in' },
        h('div', { class: 'asset-text' },
          h('header', { class: 'stream-head' },
            h('h3', { class: 'name', id: title, tabindex: '-1' }, h('bdi', { text: name })),
            h('p', { class: 'state' }, this.lamp, this.word, this.more)),
          this.facts, this.troubleBox,
          h('div', { class: 'actions' }, this.playButton, this.copy, this.stopButton, this.removeButton))));
    this.update(stream);
  }

  update(stream) {
    this.stream = stream;
    this.#listen();
    this.#readRungs();
    this.draw();
  }

  get title() {
    const { name, url, state } = this.stream;
    return { id: `stream-${name}`, name, url, poster: null, live: ['waiting', 'running'].includes(state), making: false, total_s: null, waiting: this.#waiting() };
  }

  /** Notes when the source last gave something. */
  #listen() {
    const { state, media_s: media } = this.stream;
    if (state === 'running' && media === this.#media) return;
    this.#media = media;
    this.#silent = false;
    clearTimeout(this.#silence);
    if (state !== 'running') return;
    this.#silence = setTimeout(() => {
      this.#silent = true;
      this.draw();
    }, SILENT_MS);
  }

  /** The server names no rungs of these streams, but their master playlist does. */
  async #readRungs() {
    const { url, state } = this.stream;
    const wanted = url ? `${url} ${state}` : '';
    if (wanted === this.#rungsFor) return;
    this.#rungsFor = wanted;
    if (!url) return;
    try {
      const { rungs } = master(await api.getPlaylist(url), new URL(url, document.baseURI).href);
      this.#rungs = rungs;
      this.draw();
    } catch {
      // A stream that ends this moment: its next state asks again.
    }
  }

  draw() {
    const { stream, element } = this;
    const { state, url, media_s: media, waiting } = stream;
    const trouble = this.#trouble();
    const running = state === 'running';
    const look = running ? (trouble ? 'trouble' : url ? 'live' : 'connecting') : state;
    if (element.dataset.look !== look) {
      element.dataset.look = look;
      this.lamp.replaceChildren(icon(PICTURE[look] ?? 'film'));
    }
    const word = { trouble: 'No picture comes', connecting: media ? 'Making the first segment' : 'Connecting to the source' }[look] ?? WORD[state] ?? state;
    setText(this.word, this.#ending ? 'Ending' : word);
    setText(this.more, {
      live: media ? `for ${clock(Math.floor(media))}` : '',
      waiting: 'for its turn: the server takes four sources at once',
      ended: url ? 'and can be watched as a whole' : 'before anything came',
      stored: 'by kinora ladder',
    }[look] ?? '');
    this.#drawFacts();
    this.troubleBox.hidden = !trouble;
    setText(this.trouble, trouble);
    const going = running || state === 'waiting';
    this.stopButton.hidden = !going;
    this.stopButton.disabled = this.#ending && going;
    if (!going) this.#ending = false;
    this.drawPlayer();
    this.#say(look, waiting ?? '');
  }

  #drawFacts() {
    const { source, created, window_s: window, low_latency: low, state } = this.stream;
    const rows = [
      source && ['Source', fileName(source)],
      created && ['Since', moment(created)],
      this.#rungs.length && ['Picture', this.#rungs.map(({ name, bitRate: rate }) => [name, bitRate(rate)].filter(Boolean).join(' ')).join(', ')],
      ['waiting', 'running'].includes(state) && ['Viewers', [window ? `can go back ${span(window)}` : 'can go back to the beginning', low && 'low latency'].filter(Boolean).join(', ')],
    ].filter(Boolean);
    const key = JSON.stringify(rows);
    if (key === this.facts.dataset.rows) return;
    this.facts.dataset.rows = key;
    this.facts.replaceChildren(...rows.map(([label, text]) => h('div', {}, h('dt', { text: label }), h('dd', { text }))));
  }

  /** What the stream waits for, as a sentence without its end; null when it waits for nothing. */
  #waiting() {
    const { name, waiting } = this.stream;
    if (!waiting) return null;
    const text = fileName(waiting.startsWith(`${name}: `) ? waiting.slice(name.length + 2) : waiting).replace(/; trying again$/, '');
    return /^\w+:\/\//.test(text) ? text : text[0].toUpperCase() + text.slice(1);
  }

  /** What went wrong, and what can be done about it. */
  #trouble() {
    const { state, url } = this.stream;
    if (state !== 'running') return '';
    const text = this.#waiting();
    if (text) {
      const full = / disk is full /.test(text);
      return `${text}. ${full ? 'Remove something, or give the disk more room.' : `The server tries again by itself. ${url ? 'See whether the source still sends.' : 'See whether the source sends and the address is right; to change it, remove this stream and add it again.'}`}`;
    }
    if (this.#silent && url) return 'Nothing has come from the source for a while. It is looked for, and the stream goes on when it is back.';
    return '';
  }

  /** Screen readers hear of each state once. */
  #say(look, waiting) {
    const stage = `${look} ${waiting}`;
    const first = this.#said === '';
    if (stage === this.#said) return;
    this.#said = stage;
    if (!first) announce(`${this.label}: ${look === 'trouble' ? this.trouble.textContent : this.word.textContent}`);
  }

  #confirmEnd() {
    const { name } = this.stream;
    confirm({
      title: 'End this stream?',
      text: [h('bdi', { class: 'strong', text: this.label }), ' takes nothing more from its source, for good. What is there stays and can be watched as a whole.'],
      yes: 'End it', no: 'Let it go on', failed: 'Not ended',
      act: async () => {
        await api.endStream(name);
        this.#ending = true;
        this.draw();
      },
    });
  }

  #confirmRemoval() {
    const { name } = this.stream;
    confirm({
      title: 'Remove this stream?',
      text: [h('bdi', { class: 'strong', text: this.label }), ' ends, and what is there of it will be deleted from this server. Screens that play it will stop.'],
      yes: 'Remove', no: 'Keep it', failed: 'Not removed',
      act: async () => {
        await removed(api.removeStream(name));
        this.#list.remove(name);
      },
    });
  }
}
