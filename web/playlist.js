// Reads of HLS playlists what hls.js keeps to itself: a master playlist's rungs, and the
// sheets of thumbnails of an image playlist (EXT-X-IMAGE-STREAM-INF and EXT-X-TILES, as
// Roku wrote them down and Shaka Player reads them). Pure: no page, no network.

/** Attributes of a tag (RFC 8216, section 4.2), quotes taken off. */
function attributes(text) {
  const found = text.matchAll(/([A-Z0-9-]+)=("[^"]*"|[^,]*)/g);
  return Object.fromEntries([...found].map(([, name, value]) => [name, value.replace(/^"|"$/g, '')]));
}

const size = (text) => (/^(\d+)x(\d+)$/.exec(text ?? '') ?? [null, 0, 0]).slice(1).map(Number);
const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);
const value = (line, tag) => (line.startsWith(`${tag}:`) ? line.slice(tag.length + 1) : null);

/**
 * What a master playlist at `url` offers: its rungs, best first, and the address of its
 * thumbnails, or null.
 */
export function master(text, url) {
  const rungs = [];
  let thumbnails = null;
  let variant = null;
  for (const line of lines(text)) {
    const image = value(line, '#EXT-X-IMAGE-STREAM-INF');
    if (image !== null) {
      const { URI } = attributes(image);
      if (URI) thumbnails ??= new URL(URI, url).href;
      continue;
    }
    const inf = value(line, '#EXT-X-STREAM-INF');
    if (inf !== null) {
      variant = attributes(inf);
    } else if (variant && !line.startsWith('#')) {
      const [width, height] = size(variant.RESOLUTION);
      const bitRate = Number(variant['AVERAGE-BANDWIDTH'] ?? variant.BANDWIDTH);
      const name = rungName(line, height);
      // A rung is listed once for each group that it may be played with.
      if (!rungs.some((rung) => rung.name === name)) rungs.push({ name, width, height, bitRate });
      variant = null;
    }
  }
  rungs.sort((a, b) => b.height - a.height || b.bitRate - a.bitRate);
  return { rungs, thumbnails };
}

/** A rung is called as its folder in the stream's address is. */
export function rungName(address, height) {
  const folder = /(?:^|\/)([^/]+)\/[^/]+\.m3u8/.exec(address)?.[1];
  return folder && /^\d+p/.test(folder) ? folder : `${height}p`;
}

/**
 * The sheets that an image playlist at `url` names, in their order. `start` is counted from
 * the first one; `date` (ms since 1970) is there where the playlist says it, as that of a live
 * source does.
 */
export function sheets(text, url) {
  const found = [];
  let start = 0;
  let duration = 0;
  let tiles = null;
  let date = null;
  for (const line of lines(text)) {
    const inf = value(line, '#EXTINF');
    const layout = value(line, '#EXT-X-TILES');
    const dated = value(line, '#EXT-X-PROGRAM-DATE-TIME');
    if (inf !== null) duration = parseFloat(inf);
    else if (layout !== null) tiles = attributes(layout);
    else if (dated !== null) date = Date.parse(dated);
    else if (!line.startsWith('#')) {
      const [width, height] = size(tiles?.RESOLUTION);
      const [columns, rows] = size(tiles?.LAYOUT);
      const each = Number(tiles?.DURATION);
      if (width && height && columns && rows && each > 0) found.push({ url: new URL(line, url).href, start, duration, date, width, height, columns, rows, each });
      start += duration;
      // A date holds for what comes after it too.
      if (date !== null) date += duration * 1000;
    }
  }
  return found;
}

/**
 * The tile that shows a moment: `seconds` from the first sheet's begin or, where there are
 * dates, `date`. Null where no sheet reaches.
 */
export function tile(all, seconds, date = null) {
  const into = (sheet) => (date !== null && sheet.date !== null ? (date - sheet.date) / 1000 : seconds - sheet.start);
  // Sheets come in order; what one measures may be a hair less than it lasts.
  const sheet = all.findLast((each) => into(each) >= 0);
  if (!sheet || into(sheet) > sheet.duration + 1) return null;
  const number = Math.min(sheet.columns * sheet.rows - 1, Math.floor(into(sheet) / sheet.each));
  const { url, width, height, columns, rows } = sheet;
  return { url, width, height, columns, rows, x: (number % columns) * width, y: Math.floor(number / columns) * height };
}
