// The controls under a picture. A browser's own would do, but nobody can show thumbnails on
// their seek bar or tell a live stream's edge from its end. The bar is a range input, so that
// keys, fingers and screen readers know it already.

import { button, h, icon, setText } from './dom.js';
import { clock } from './words.js';

/** How far an arrow key goes. */
const STEP_S = 5;
/** How long a tile stays after a key, and the controls of a full screen that nobody touches. */
const SHOWN_MS = 1500;
const IDLE_MS = 3000;
/** Width of the bar's knob as style.css has it: its middle never reaches the bar's ends. */
const KNOB = 16;

export class Controls {
  #video;
  #screen;
  #range;
  #tileAt;
  #onseek;
  /** The bar is being dragged: it stands where the finger is, not where the picture is. */
  #dragging = false;
  /** The moment whose tile is shown. */
  #pointed = null;
  #hide = 0;
  #idle = 0;

  /**
   * `range` gives `{ start, end, live }` of what can be seen now, or null; `tileAt` the tile
   * of a moment, or null; `onseek` is called before each jump.
   */
  constructor(video, screen, { range, tileAt, onseek, onlive }) {
    this.#video = video;
    this.#screen = screen;
    this.#range = range;
    this.#tileAt = tileAt;
    this.#onseek = onseek;

    this.play = button('', () => this.#toggle(), { kind: 'bare', picture: 'plays' });
    this.seek = h('input', { type: 'range', class: 'seek', min: '0', max: '0', step: 'any', value: '0', 'aria-label': 'Position' });
    this.tile = h('span', { class: 'tile' });
    this.tileTime = h('span', { class: 'tile-time' });
    this.preview = h('div', { class: 'preview', 'aria-hidden': 'true', hidden: true }, this.tile, this.tileTime);
    this.time = h('span', { class: 'time' });
    this.live = button('Back to live', onlive, { kind: 'bare live' });
    this.choices = h('span', { class: 'choices' });
    this.mute = button('', () => (video.muted = !video.muted), { kind: 'bare' });
    this.volume = h('input', { type: 'range', class: 'volume', min: '0', max: '1', step: '0.05', value: String(video.volume), 'aria-label': 'Volume' });
    this.full = button('', () => this.#toggleFull(), { kind: 'bare' });
    this.full.hidden = !document.fullscreenEnabled;
    this.live.hidden = true;
    this.element = h('div', { class: 'controls', role: 'group', 'aria-label': 'Player' },
      h('div', { class: 'seek-box' }, this.seek, this.preview),
      h('div', { class: 'controls-row' }, this.play, this.time, this.live, this.choices, this.mute, this.volume, this.full));

    for (const type of ['timeupdate', 'durationchange', 'seeked', 'play', 'pause', 'ended']) video.addEventListener(type, () => this.draw());
    video.addEventListener('volumechange', () => this.#drawSound());
    video.addEventListener('click', () => this.#toggle());
    video.addEventListener('dblclick', () => this.#toggleFull());
    this.volume.addEventListener('input', () => {
      video.volume = Number(this.volume.value);
      video.muted = video.volume === 0;
    });
    this.#bar();
    screen.addEventListener('keydown', (event) => this.#key(event));
    for (const type of ['pointermove', 'pointerdown', 'keydown']) screen.addEventListener(type, () => this.#wake());
    screen.addEventListener('fullscreenchange', () => {
      this.#drawFull();
      this.#wake();
    });
    this.#drawSound();
    this.#drawFull();
    this.draw();
  }

  /** A choice of tracks by their names; none for fewer than `least` of them. `chosen` -1 is none of them. */
  offer(label, names, chosen, onchoose, { off = null, least = 1 } = {}) {
    this.choices.querySelector(`[aria-label="${label}"]`)?.remove();
    if (names.length < least) return;
    const option = (text, value) => {
      const made = h('option', { value: String(value), text });
      made.selected = value === chosen;
      return made;
    };
    const select = h('select', { class: 'choice', 'aria-label': label }, off && option(off, -1), names.map((name, index) => option(name, index)));
    select.addEventListener('change', () => onchoose(Number(select.value)));
    this.choices.append(select);
  }

  /** Shows where the picture is. */
  draw() {
    const { paused, ended, currentTime } = this.#video;
    const verb = paused || ended ? 'Play' : 'Pause';
    if (this.play.getAttribute('aria-label') !== verb) {
      this.play.setAttribute('aria-label', verb);
      this.play.replaceChildren(icon(verb === 'Play' ? 'plays' : 'pause'));
    }
    const range = this.#range();
    this.seek.disabled = range === null;
    this.live.hidden = !range?.live;
    if (range === null) {
      setText(this.time, '');
      return;
    }
    const { start, end, live } = range;
    const behind = live ? live.behind : 0;
    setText(this.time, live ? (behind ? `${clock(behind)} behind` : '') : `${clock(Math.floor(currentTime))} / ${clock(end)}`);
    setText(this.live, behind ? 'Back to live' : 'Live');
    this.live.classList.toggle('at-edge', !behind);
    this.live.setAttribute('aria-disabled', String(!behind));
    if (this.#dragging) return;
    this.seek.min = String(start);
    this.seek.max = String(Math.max(start, end));
    this.seek.value = String(live && !behind ? end : currentTime);
    this.#say(Number(this.seek.value));
  }

  /** There may be a thumbnail where there was none. */
  drawTile() {
    if (this.#pointed !== null) this.#show(this.#pointed);
  }

  #bar() {
    const { seek } = this;
    seek.addEventListener('pointermove', (event) => {
      // A finger's place is told by the knob that it drags.
      if (event.pointerType === 'mouse' && !this.#dragging) this.#show(this.#under(event));
    });
    seek.addEventListener('pointerleave', () => this.#dragging || this.#show(null));
    seek.addEventListener('input', () => {
      this.#dragging = true;
      const at = Number(seek.value);
      this.#say(at);
      this.#show(at);
    });
    seek.addEventListener('change', () => {
      this.#dragging = false;
      this.#go(Number(seek.value));
      this.#show(null);
    });
    // A drag that the system took over, as for a gesture of its own, ends without a change.
    seek.addEventListener('pointercancel', () => {
      this.#dragging = false;
      this.#show(null);
      this.draw();
    });
    seek.addEventListener('blur', () => this.#show(null));
  }

  /** The moment under a pointer. */
  #under({ clientX }) {
    const { left, width } = this.seek.getBoundingClientRect();
    const [min, max] = [Number(this.seek.min), Number(this.seek.max)];
    const part = (clientX - left - KNOB / 2) / Math.max(1, width - KNOB);
    return min + Math.min(1, Math.max(0, part)) * (max - min);
  }

  #show(at) {
    clearTimeout(this.#hide);
    this.#pointed = at;
    const range = at === null ? null : this.#range();
    this.preview.hidden = range === null;
    if (range === null) return;
    const tile = this.#tileAt(at);
    this.tile.hidden = !tile;
    if (tile) {
      const { style } = this.tile;
      style.width = `${tile.width}px`;
      style.height = `${tile.height}px`;
      style.backgroundImage = `url("${tile.url}")`;
      style.backgroundSize = `${tile.width * tile.columns}px ${tile.height * tile.rows}px`;
      style.backgroundPosition = `${-tile.x}px ${-tile.y}px`;
    }
    const { start, end, live } = range;
    setText(this.tileTime, live ? (end - at < 1 ? 'Live' : `−${clock(end - at)}`) : clock(Math.floor(at)));
    const { offsetWidth: bar } = this.seek;
    const { offsetWidth: box } = this.preview;
    const middle = KNOB / 2 + ((at - start) / Math.max(0.001, end - start)) * (bar - KNOB);
    this.preview.style.left = `${Math.min(Math.max(0, middle - box / 2), Math.max(0, bar - box))}px`;
  }

  #say(at) {
    const range = this.#range();
    if (!range) return;
    const { end, live } = range;
    const behind = Math.round(end - at);
    this.seek.setAttribute('aria-valuetext', live ? (behind < 1 ? 'live' : `${clock(behind)} behind live`) : `${clock(Math.floor(at))} of ${clock(end)}`);
  }

  #go(at) {
    this.#onseek();
    this.#video.currentTime = at;
    this.#say(at);
  }

  #toggle() {
    if (this.#video.paused) this.#video.play().catch(() => {});
    else this.#video.pause();
  }

  #key(event) {
    const { key, target } = event;
    if (event.altKey || event.ctrlKey || event.metaKey || target.matches('select, .volume')) return;
    const range = this.#range();
    const at = Number(this.seek.value);
    const page = range ? (range.end - range.start) / 10 : 0;
    const to = { ArrowLeft: at - STEP_S, ArrowDown: at - STEP_S, ArrowRight: at + STEP_S, ArrowUp: at + STEP_S, PageDown: at - page, PageUp: at + page, Home: range?.start, End: range?.end }[key];
    // Up, down and the ends of a page belong to the page, unless the bar has the focus.
    if (range && to !== undefined && (target === this.seek || /^Arrow(Left|Right)$/.test(key))) {
      const seconds = Math.min(range.end, Math.max(range.start, to));
      this.seek.value = String(seconds);
      this.#go(seconds);
      this.#show(seconds);
      this.#hide = setTimeout(() => this.#show(null), SHOWN_MS);
    } else if (key === ' ' && !target.matches('button')) this.#toggle();
    else if (key === 'm') this.#video.muted = !this.#video.muted;
    else if (key === 'f') this.#toggleFull();
    else return;
    event.preventDefault();
  }

  #drawSound() {
    const { muted, volume } = this.#video;
    const silent = muted || volume === 0;
    this.mute.setAttribute('aria-label', silent ? 'Sound on' : 'Sound off');
    this.mute.replaceChildren(icon(silent ? 'silent' : 'sound'));
    this.volume.value = String(silent ? 0 : volume);
  }

  #drawFull() {
    const full = document.fullscreenElement === this.#screen;
    this.full.setAttribute('aria-label', full ? 'Leave full screen' : 'Full screen');
    this.full.replaceChildren(icon(full ? 'small' : 'full'));
  }

  #toggleFull() {
    const done = document.fullscreenElement ? document.exitFullscreen() : this.#screen.requestFullscreen?.();
    // A frame around the page may forbid it.
    done?.catch(() => {});
  }

  /** In full screen the controls lie on the picture and leave it when nobody moves. */
  #wake() {
    clearTimeout(this.#idle);
    this.#screen.classList.remove('idle');
    if (document.fullscreenElement === this.#screen) this.#idle = setTimeout(() => this.#screen.classList.toggle('idle', !this.#video.paused), IDLE_MS);
  }
}
