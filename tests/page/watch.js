// Listens in on hls.js from outside the page's own code, so that an error event counts
// even when the page handles it: the library's class is caught when its script defines it.

export async function watchPlayer(page) {
  await page.addInitScript(() => {
    globalThis.watched = { errors: [], starts: [] };
    let Hls;
    // What a stall was for want of: data or time on the processor.
    const held = ({ buffered }) => Array.from({ length: buffered?.length ?? 0 }, (_, i) => `${buffered.start(i).toFixed(2)}-${buffered.end(i).toFixed(2)}`).join(' ');
    Object.defineProperty(globalThis, 'Hls', {
      configurable: true,
      get: () => Hls,
      set: (value) => {
        Hls = value;
        const attach = value.prototype.attachMedia;
        value.prototype.attachMedia = function attachMedia(media) {
          this.on('hlsError', (_, { type, details, fatal, reason }) => globalThis.watched.errors.push(`${type} ${details} ${fatal} ${reason ?? ''} at ${media.currentTime ?? ''} of ${held(media)}`));
          (media.media ?? media).addEventListener('playing', (event) => globalThis.watched.starts.push(Math.floor(event.target.currentTime)));
          return attach.call(this, media);
        };
      },
    });
  });
  await page.reload();
  return {
    errors: () => page.evaluate(() => globalThis.watched.errors),
    starts: () => page.evaluate(() => globalThis.watched.starts),
  };
}
