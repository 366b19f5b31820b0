// Plays an asset's HLS stream in its card, through hls.js, which is fetched the first
// time something is played. The stream may still be growing (an EVENT playlist): it
// starts at 0 and, when the picture catches up with the encoder, playback is held
// before the buffer runs dry and goes on when there is more. Without that a slow
// encoder would show as a stalled, stuttering video.
//
// The element is made once and lives until closed; `update` only hands in facts.

import { button, h, setText } from './dom.js';
import { bitRate, clock, fileName } from './words.js';

// Hold below the first, go on above the second. Media time events come four times a
// second and a busy machine is late with them, hence not less than a second.
const HOLD_BELOW_S = 1.2;
const RESUME_ABOVE_S = 3;

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
  #asset;
  #hls = null;
  #held = false;
  #closed = false;
  /** The rung that was asked for and is not yet handed to hls.js. */
  #wanted = null;
  /** The rung whose segment at the playhead is being fetched for a choice. */
  #fetching = null;
  #recovered = false;

  constructor(asset, { onclose }) {
    this.#asset = asset;
    this.video = h('video', { controls: true, playsinline: true, 'aria-label': fileName(asset.name), poster: asset.thumbnail });
    this.note = h('p', { class: 'player-note', role: 'status' });
    this.retry = button('Try again', () => this.start(), { kind: 'strong' });
    this.message = h('div', { class: 'player-message', hidden: true }, this.note, this.retry);
    this.rungs = h('div', { class: 'rungs', role: 'radiogroup', 'aria-label': 'Resolution' });
    this.now = h('p', { class: 'quiet now', role: 'status' });
    this.element = h('div', { class: 'player' },
      h('div', { class: 'screen' }, this.video, this.message),
      h('div', { class: 'player-bar' }, this.rungs, this.now, button('Close player', onclose, { picture: 'close' })));
    this.retry.hidden = true;

    const { video } = this;
    for (const type of ['timeupdate', 'progress', 'durationchange']) video.addEventListener(type, () => this.#watchEdge());
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
      this.#say(`${fileName(this.#asset.name)}: ${error.message}.`, true);
      return;
    }
    if (this.#closed) return;
    if (!Hls.isSupported()) {
      this.#native();
      return;
    }
    const hls = new Hls({
      startPosition: 0,
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
    // The segment is here and the next one not yet asked for.
    hls.on(Hls.Events.FRAG_LOADED, () => this.#handOver());
    hls.on(Hls.Events.FRAG_BUFFERED, (_, data) => {
      this.#showChosen(data);
      this.#switch();
    });
    for (const event of [Hls.Events.LEVEL_UPDATED, Hls.Events.FRAG_BUFFERED, Hls.Events.BUFFER_EOS]) hls.on(event, () => this.#watchEdge());
    hls.on(Hls.Events.ERROR, (_, data) => this.#failed(Hls, data));
    hls.attachMedia(this.video);
    hls.loadSource(this.#asset.stream.url);
  }

  /** New facts about the asset; never touches the video element. */
  update(asset) {
    this.#asset = asset;
    if (this.#held) this.#sayHeld();
    this.#showNow();
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
    this.video.src = this.#asset.stream.url;
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
    this.#say(`${fileName(this.#asset.name)} stopped: ${why} (${data.details}).`, true);
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

  #ahead() {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= currentTime + 0.1 && currentTime <= buffered.end(i)) return buffered.end(i) - currentTime;
    }
    return 0;
  }

  #watchEdge(asked = false) {
    if (!this.#hls || this.video.seeking) return;
    const { video } = this;
    if (this.#held) {
      if (!this.#growing() || this.#ahead() > RESUME_ABOVE_S) {
        this.#held = false;
        this.#say('');
        this.#play();
      } else if (asked) {
        video.pause();
      }
      return;
    }
    const begun = video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (begun && this.#growing() && !video.paused && this.#ahead() < HOLD_BELOW_S && !this.#switching()) {
      this.#held = true;
      video.pause();
      this.#sayHeld();
    }
  }

  /** A chosen rung empties the buffer for a moment; that is not the encoder's edge. */
  #switching() {
    const details = this.#hls.latestLevelDetails;
    return details.edge - this.video.currentTime > RESUME_ABOVE_S;
  }

  #sayHeld() {
    const total = this.#asset.stream?.progress?.total_s ?? this.#asset.probe?.duration_s;
    const made = this.#hls?.latestLevelDetails?.edge;
    this.#say(`Waiting for the encoder${made ? `: ${clock(made)}${total ? ` of ${clock(total)}` : ''} is made` : ''}. Goes on by itself.`);
  }

  #offerRungs() {
    const group = `rung-${this.#asset.id}`;
    const choice = (level, text, rate) => {
      const input = h('input', { type: 'radio', name: group, value: String(level), onchange: () => this.#choose(level) });
      input.checked = level === -1;
      return h('label', { class: 'rung' }, input, h('span', {}, text, rate && h('small', { text: rate })));
    };
    const levels = this.#hls.levels.map((level, index) => ({ index, level })).sort((a, b) => b.level.height - a.level.height || b.level.bitrate - a.level.bitrate);
    this.rungs.replaceChildren(
      choice(-1, 'Auto', null),
      ...levels.map(({ index, level }) => choice(index, rungName(level), bitRate(level.averageBitrate || level.bitrate))));
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
    if (wanted === null) return;
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
    if (level) parts.push(`Showing ${rungName(level)}`);
    if (videoWidth) parts.push(`${videoWidth} × ${videoHeight}`);
    if (this.#asset.stream?.state === 'running') parts.push('still being made');
    setText(this.now, parts.join(' · '));
    if (level) this.element.dataset.rung = rungName(level);
  }
}

/** A rung is called as its folder in the stream's address is. */
function rungName(level) {
  const folder = /\/([^/]+)\/[^/]+\.m3u8/.exec(level.url?.[0] ?? level.uri ?? '')?.[1];
  return folder && /^\d+p/.test(folder) ? folder : `${level.height}p`;
}
