// Live changes from /api/events. Reconnecting is done here rather than left to the
// browser, because a browser gives up for good on some answers and because every new
// connection must be followed by reading the whole list: what changed meanwhile is
// not repeated. `onopen` is called after each (re)connection, `onlost` after each attempt that failed.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
// A machine that slept may hold a connection that is dead without saying so.
const HIDDEN_TOO_LONG_MS = 60_000;

export class Events {
  #source = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #hiddenAt = 0;
  /** Until somebody signs in there is nothing to hear. */
  #stopped = true;

  constructor({ onasset, onlive, onremote, onremoved, onopen, onlost }) {
    Object.assign(this, { onasset, onlive, onremote, onremoved, onopen, onlost });
    addEventListener('online', () => this.#again());
    addEventListener('offline', () => this.retry());
    // A page kept for the back button must not hold one of the few connections a browser has.
    addEventListener('pagehide', () => this.#source?.close());
    addEventListener('pageshow', (event) => event.persisted && this.#again());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#hiddenAt = Date.now();
      else if (this.#hiddenAt && Date.now() - this.#hiddenAt > HIDDEN_TOO_LONG_MS) this.#again();
    });
  }

  #again() {
    if (!this.#stopped) this.connect();
  }

  connect() {
    this.#stopped = false;
    clearTimeout(this.#timer);
    this.#source?.close();
    const source = new EventSource('/api/events');
    this.#source = source;
    source.onopen = () => {
      this.onopen();
    };
    source.onerror = () => source === this.#source && this.retry();
    source.addEventListener('asset', (event) => this.onasset(JSON.parse(event.data)));
    source.addEventListener('remote', (event) => this.onremote(JSON.parse(event.data)));
    source.addEventListener('live', (event) => this.onlive(JSON.parse(event.data)));
    // The server dropped events that this page was too slow to take.
    source.addEventListener('resync', () => this.connect());
    source.addEventListener('removed', (event) => this.onremoved(JSON.parse(event.data).id));
  }

  /** All is in step again: the next loss starts with a short wait. */
  settled() {
    this.#wait = FIRST_WAIT_MS;
  }

  /** Nobody listens until `connect` is called again. */
  stop() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    this.#stopped = true;
  }

  /** What was connected did not serve: says so, and tries again after a growing wait. */
  retry() {
    if (this.#stopped) return;
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    this.onlost();
    this.#timer = setTimeout(() => this.connect(), this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
  }
}
