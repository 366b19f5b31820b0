// Plays an HLS stream in its card, through hls.js, which is fetched the first time something
// is played. The stream may still be growing: one made of a file starts at 0, that of a live
// source near its edge. When the picture catches up with what is there, playback is held
// before the buffer runs dry and goes on when there is more. Without that a slow encoder
// would show as a stalled, stuttering video.
//
// What is played is told as a title: { id, name, url, poster, live, making, total_s, waiting }.
// The element is made once and lives until closed; `update` only hands in facts.

import { Controls } from './controls.js';
import { button, h, setText } from './dom.js';
import { rungName } from './playlist.js';
import { Thumbnails } from './thumbnails.js';
import { bitRate, clock, fileName, trackName } from './words.js';

// Seconds of picture ahead: hold below the first, go on above the second. Media time events
// come four times a second and a busy machine is late with them, hence not less than a second
// where an encoder is waited for. A live source comes as fast as it is played: who goes on with
// less than a segment waits again for each.
const MADE = { hold: 1.2, resume: 3 };
const LIVE = { hold: 0.3, resume: 1.2 };
const AFTER_SEGMENT_S = 1;
/** Nobody who is less behind than this, or where there are no parts than two segments, is behind. */
const BEHIND_S = 3;

let library = null;

/** hls.js as the server carries it; a failed load may be tried again. */
function loadHls() {
  library ??= new Promise((resolve, reject) => {
    const script = h('script', { src: '/hls.min.js' });
    script.onload = () => resolve(globalThis.Hls);
    script.onerror = () => {
      library = null;
      script.remove();
      reject(new Error('the player could not be loaded from the server'));
    };
    document.head.append(script);
  });
  return library;
}

export class Player {
  #title;
  #hls = null;
  #held = false;
  #closed = false;
  /** The rung that was asked for and is not yet handed to hls.js. */
  #wanted = null;
  /** The rung whose segment at the playhead is being fetched for a choice. */
  #fetching = null;
  #recovered = false;
  #thumbnails;

  constructor(title, { onclose }) {
    this.#title = title;
    this.video = h('video', { playsinline: true, 'aria-label': fileName(title.name), poster: title.poster });
    this.note = h('p', { class: 'player-note', role: 'status' });
    this.retry = button('Try again', () => this.start(), { kind: 'strong' });
    this.message = h('div', { class: 'player-message', hidden: true }, this.note, this.retry);
    this.rungs = h('div', { class: 'rungs', role: 'radiogroup', 'aria-label': 'Resolution' });
    this.now = h('p', { class: 'quiet now', role: 'status' });
    const screen = h('div', { class: 'screen' }, this.video, this.message);
    this.#thumbnails = new Thumbnails(title.url, () => this.controls.drawTile());
    this.controls = new Controls(this.video, screen, {
      range: () => this.#range(),
      tileAt: (at) => this.#thumbnails.at(at, this.#dateOf(at)),
      onseek: () => this.#letGo(),
      onlive: () => this.#toLive(),
    });
    screen.append(this.controls.element);
    this.element = h('div', { class: 'player' }, screen,
      h('div', { class: 'player-bar' }, this.rungs, this.now, button('Close player', onclose, { picture: 'close' })));
    this.retry.hidden = true;

    const { video } = this;
    for (const type of ['timeupdate', 'progress', 'durationchange', 'canplay', 'seeked']) video.addEventListener(type, () => this.#watchEdge());
    // Before hls.js hears of it, which would call it an error.
    video.addEventListener('waiting', () => this.#watchEdge());
    video.addEventListener('play', () => this.#watchEdge(true));
    video.addEventListener('resize', () => this.#showNow());
  }

  async start() {
    this.#hls?.destroy();
    this.#hls = null;
    this.#held = false;
    this.#wanted = null;
    this.#fetching = null;
    this.#say('Loading the stream…');
    let Hls;
    try {
      Hls = await loadHls();
    } catch (error) {
      this.#say(`${fileName(this.#title.name)}: ${error.message}.`, true);
      return;
    }
    if (this.#closed) return;
    if (!Hls.isSupported()) {
      this.#native();
      return;
    }
    const hls = new Hls({
      // -1: as near to a live source as its playlist allows.
      startPosition: this.#title.live ? -1 : 0,
      // An encoder that is slow, or waits for its turn, is no reason to give up.
      liveMaxUnchangedPlaylistRefresh: Infinity,
      // The server is near: begin with a good picture and correct from measurements.
      abrEwmaDefaultEstimate: 8_000_000,
      backBufferLength: 60,
    });
    this.#hls = hls;
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      this.#offerRungs();
      this.#say('');
      this.#play();
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, () => this.#showNow());
    hls.on(Hls.Events.SUBTITLE_TRACKS_UPDATED, () => this.#offerTracks());
    hls.on(Hls.Events.SUBTITLE_TRACK_SWITCH, () => this.#offerTracks());
    hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, () => this.#offerTracks());
    // The segment is here and the next one not yet asked for.
    hls.on(Hls.Events.FRAG_LOADED, () => this.#handOver());
    hls.on(Hls.Events.FRAG_BUFFERED, (_, data) => {
      this.#showChosen(data);
      this.#switch();
    });
    for (const event of [Hls.Events.LEVEL_UPDATED, Hls.Events.FRAG_BUFFERED, Hls.Events.BUFFER_EOS]) {
      hls.on(event, () => {
        this.#watchEdge();
        this.controls.draw();
      });
    }
    hls.on(Hls.Events.ERROR, (_, data) => this.#failed(Hls, data));
    hls.attachMedia(this.video);
    hls.loadSource(this.#title.url);
  }

  /** New facts about what is played; never touches the video element. */
  update(title) {
    this.#title = title;
    if (this.#held) this.#sayHeld();
    this.#showNow();
  }

  focus() {
    this.controls.play.focus({ preventScroll: true });
  }

  /** The server is back after a loss. */
  wake() {
    this.#hls?.startLoad(this.video.currentTime);
  }

  close() {
    this.#closed = true;
    this.#hls?.destroy();
    this.#hls = null;
    this.video.removeAttribute('src');
    this.video.load();
    this.element.remove();
  }

  // Safari on older phones has no Media Source Extensions but plays HLS by itself.
  #native() {
    if (!this.video.canPlayType('application/vnd.apple.mpegurl')) {
      this.#say('This browser cannot play HLS streams. A current Firefox, Chrome, Edge or Safari can.');
      return;
    }
    this.video.controls = true;
    this.controls.element.hidden = true;
    this.video.src = this.#title.url;
    this.#say('');
    this.#play();
  }

  #play() {
    // A browser may forbid sound that nobody asked for; the controls are there then.
    this.video.play().catch(() => {});
  }

  #failed(Hls, data) {
    this.#switch();
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !this.#recovered) {
      this.#recovered = true;
      this.#hls.recoverMediaError();
      return;
    }
    const why = data.type === Hls.ErrorTypes.NETWORK_ERROR ? 'the server does not deliver it' : 'this browser cannot decode it';
    this.#say(`${fileName(this.#title.name)} stopped: ${why} (${data.details}).`, true);
  }

  #say(text, retry = false) {
    setText(this.note, text);
    this.retry.hidden = !retry;
    this.message.hidden = !text;
    this.message.classList.toggle('failed', retry);
  }

  #growing() {
    return Boolean(this.#hls?.latestLevelDetails?.live);
  }

  /** What can be seen now, and how far behind a live source the picture is. */
  #range() {
    const details = this.#hls?.latestLevelDetails;
    if (!details) return null;
    const { fragmentStart: start, edge, live, targetduration, partTarget } = details;
    if (!live || !this.#title.live) return { start, end: edge, live: null };
    const { currentTime } = this.video;
    const end = Math.max(this.#hls.liveSyncPosition ?? edge, currentTime);
    const behind = end - currentTime;
    return { start, end: Math.max(start, end), live: { behind: behind > (partTarget ? BEHIND_S : 2 * targetduration) ? behind : 0 } };
  }

  /** When the picture at `at` was taken (ms since 1970), where the playlist says it. */
  #dateOf(at) {
    const fragments = this.#hls?.latestLevelDetails?.fragments ?? [];
    const fragment = fragments.findLast(({ start }) => start <= at) ?? fragments[0];
    const date = fragment?.programDateTime;
    return Number.isFinite(date) ? date + (at - fragment.start) * 1000 : null;
  }

  #toLive() {
    const { live, end } = this.#range() ?? {};
    if (!live?.behind) return;
    this.#letGo();
    this.video.currentTime = end;
    this.#play();
  }

  /** Whoever jumps elsewhere no longer waits for what comes here. */
  #letGo() {
    if (!this.#held) return;
    this.#held = false;
    this.#say('');
    this.#play();
  }

  /** Captions, and sound where there is more than one. */
  #offerTracks() {
    const hls = this.#hls;
    const names = (kind, tracks) => tracks.map((track) => `${kind}: ${trackName(track)}`);
    this.controls.offer('Captions', names('Captions', hls.subtitleTracks), hls.subtitleTrack, (index) => {
      hls.subtitleTrack = index;
    }, { off: 'No captions' });
    this.controls.offer('Sound track', names('Sound', hls.audioTracks), hls.audioTrack, (index) => {
      hls.audioTrack = index;
    }, { least: 2 });
  }

  /** Seconds of picture without a hole from here, and where what comes after the hole begins. */
  #ahead() {
    const { buffered, currentTime } = this.video;
    let ahead = 0;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= currentTime + 0.1 && currentTime <= buffered.end(i)) ahead = buffered.end(i) - currentTime;
      else if (buffered.start(i) > currentTime) return { ahead, next: buffered.start(i) };
    }
    return { ahead, next: null };
  }

  #watchEdge(asked = false) {
    if (!this.#hls || this.video.seeking) return;
    const { video } = this;
    const { hold, resume } = this.#patience();
    const { ahead, next } = this.#ahead();
    if (this.#held) {
      // Asked to play before it can, a browser says that it waits, which hls.js calls an error.
      const can = video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
      if (!this.#growing() || (can && ahead > resume)) {
        this.#held = false;
        this.#say('');
        this.#play();
        return;
      }
      if (asked) video.pause();
      // What a source missed while it was away never comes; hls.js would jump too, and complain.
      if (next !== null && ahead < hold) video.currentTime = next;
      return;
    }
    const begun = video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (begun && this.#growing() && !video.paused && ahead < hold && !this.#switching()) {
      this.#held = true;
      video.pause();
      this.#sayHeld();
    }
  }

  /** A chosen rung empties the buffer for a moment; that is not the encoder's edge. */
  #switching() {
    // A live picture is always so near its edge that the distance says nothing.
    if (this.#title.live) return this.#fetching !== null;
    const details = this.#hls.latestLevelDetails;
    return details.edge - this.video.currentTime > this.#patience().resume;
  }

  #patience() {
    const { partTarget, targetduration } = this.#hls?.latestLevelDetails ?? {};
    if (!this.#title.live) return MADE;
    return partTarget || !targetduration ? LIVE : { ...LIVE, resume: targetduration + AFTER_SEGMENT_S };
  }

  #sayHeld() {
    const { live, waiting, total_s: total } = this.#title;
    if (live) {
      this.#say(`${waiting ?? 'Nothing more has come yet'}. Goes on by itself.`);
      return;
    }
    const made = this.#hls?.latestLevelDetails?.edge;
    this.#say(`Waiting for the encoder${made ? `: ${clock(made)}${total ? ` of ${clock(total)}` : ''} is made` : ''}. Goes on by itself.`);
  }

  #offerRungs() {
    const group = `rung-${this.#title.id}`;
    const choice = (level, text, rate) => {
      const input = h('input', { type: 'radio', name: group, value: String(level), onchange: () => this.#choose(level) });
      input.checked = level === -1;
      return h('label', { class: 'rung' }, input, h('span', {}, text, rate && h('small', { text: rate })));
    };
    const levels = this.#hls.levels.map((level, index) => ({ index, level })).sort((a, b) => b.level.height - a.level.height || b.level.bitrate - a.level.bitrate);
    this.rungs.replaceChildren(
      choice(-1, 'Auto', null),
      ...levels.map(({ index, level }) => choice(index, rungOf(level), bitRate(level.averageBitrate || level.bitrate))));
    this.#showNow();
  }

  #choose(level) {
    this.#wanted = level;
    this.#switch();
    this.#showNow();
  }

  /**
   * Hands the choice on as soon as no segment is on its way: hls.js reports a segment
   * that it has to abort as an error of the network.
   */
  #switch() {
    const hls = this.#hls;
    if (this.#wanted === null || !hls || hls.inFlightFragments.main?.state === 'FRAG_LOADING') return;
    this.#handOver();
  }

  #handOver() {
    const wanted = this.#wanted;
    // Told to switch between the first segment's coming and its being buffered, hls.js stops there.
    if (wanted === null || this.video.buffered.length === 0) return;
    this.#wanted = null;
    // `currentLevel` throws away what is buffered, so the choice shows at once; Auto has no hurry.
    if (wanted === -1) {
      this.#hls.loadLevel = -1;
    } else if (wanted !== this.#hls.currentLevel) {
      this.#hls.currentLevel = wanted;
      this.#fetching = wanted;
    }
  }

  /**
   * A decoder goes on with what it took in before the buffer was emptied and notices the
   * new rung only at the next key frame, in the last segment never. A seek to where the
   * playhead already is makes it begin again with what is there now.
   */
  #showChosen({ frag }) {
    const { video } = this;
    const here = frag.start <= video.currentTime + 0.1 && video.currentTime < frag.end;
    if (frag.type !== 'main' || frag.level !== this.#fetching || !here) return;
    this.#fetching = null;
    if (!video.ended) video.currentTime = Math.max(video.currentTime, frag.start);
  }

  #showNow() {
    const hls = this.#hls;
    const { videoWidth, videoHeight } = this.video;
    // hls.js counts a rung as current from its first byte; the eye goes by the picture.
    const level = hls?.levels?.find(({ width, height }) => width === videoWidth && height === videoHeight) ?? hls?.levels?.[hls.currentLevel];
    const parts = [];
    if (level) parts.push(`Showing ${rungOf(level)}`);
    if (videoWidth) parts.push(`${videoWidth} × ${videoHeight}`);
    if (this.#title.making) parts.push('still being made');
    setText(this.now, parts.join(' · '));
    if (level) this.element.dataset.rung = rungOf(level);
  }
}

const rungOf = (level) => rungName(level.url?.[0] ?? level.uri ?? '', level.height);
