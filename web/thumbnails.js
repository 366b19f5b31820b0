// A stream's thumbnails: which tile of which sheet shows a moment. Everything is fetched when
// it is first asked for, and the index again while it does not reach as far as is asked, since
// a stream that is still being made gets more of them. A stream without any is no error.

import { getPlaylist } from './api.js';
import { master, sheets, tile } from './playlist.js';

/** The shortest time between two looks at the index. */
const AGAIN_MS = 2000;

export class Thumbnails {
  #master;
  /** Address of the index: unknown, or null for a stream that has none. */
  #index;
  #sheets = [];
  #loading = false;
  #asked = -Infinity;

  /** `address` is the master playlist's; `onread` is called after each look at the index. */
  constructor(address, onread) {
    this.#master = new URL(address, document.baseURI).href;
    this.onread = onread;
  }

  /** The tile of a moment as `playlist.js` has it; null where there is none, or none yet. */
  at(seconds, date) {
    const found = tile(this.#sheets, seconds, date);
    if (!found && !this.#loading && this.#index !== null) this.#load();
    return found;
  }

  async #load() {
    this.#loading = true;
    const early = this.#asked + AGAIN_MS - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    this.#asked = performance.now();
    try {
      this.#index ??= master(await getPlaylist(this.#master), this.#master).thumbnails;
      if (this.#index !== null) this.#sheets = sheets(await getPlaylist(this.#index), this.#index);
    } catch {
      // The picture is a help and not the thing itself: the bar says the time all the same.
    }
    this.#loading = false;
    this.onread();
  }
}
