// Live changes from /api/events. Reconnecting is done here rather than left to the
// browser, because a browser gives up for good on some answers and because every new
// connection must be followed by reading the whole list: what changed meanwhile is
// not repeated. `onopen` is called after each (re)connection, `onlost` once per loss.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
// A machine that slept may hold a connection that is dead without saying so.
const HIDDEN_TOO_LONG_MS = 60_000;

export class Events {
  #source = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #lost = false;
  #hiddenAt = 0;

  constructor({ onasset, onremoved, onopen, onlost }) {
    Object.assign(this, { onasset, onremoved, onopen, onlost });
    addEventListener('online', () => this.connect());
    addEventListener('offline', () => this.retry());
    // A page kept for the back button must not hold one of the few connections a browser has.
    addEventListener('pagehide', () => this.#source?.close());
    addEventListener('pageshow', (event) => event.persisted && this.connect());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#hiddenAt = Date.now();
      else if (this.#hiddenAt && Date.now() - this.#hiddenAt > HIDDEN_TOO_LONG_MS) this.connect();
    });
  }

  connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    const source = new EventSource('/api/events');
    this.#source = source;
    source.onopen = () => {
      this.#lost = false;
      this.onopen();
    };
    source.onerror = () => source === this.#source && this.retry();
    source.addEventListener('asset', (event) => this.onasset(JSON.parse(event.data)));
    // The server dropped events that this page was too slow to take.
    source.addEventListener('resync', () => this.connect());
    source.addEventListener('removed', (event) => this.onremoved(JSON.parse(event.data).id));
  }

  /** All is in step again: the next loss starts with a short wait. */
  settled() {
    this.#wait = FIRST_WAIT_MS;
  }

  /** What was connected did not serve: says so, and tries again after a growing wait. */
  retry() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    if (!this.#lost) {
      this.#lost = true;
      this.onlost();
    }
    this.#timer = setTimeout(() => this.connect(), this.#wait);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
  }
}
