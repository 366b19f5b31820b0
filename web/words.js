// Turns the probe's facts into words a person reads. The names come in as FFmpeg's
// (see `kinora probe --json`) and leave as what is printed on boxes and in manuals.
// Pure: no page, no network.

const VIDEO = {
  h264: 'H.264', hevc: 'HEVC', av1: 'AV1', vp8: 'VP8', vp9: 'VP9', mpeg2video: 'MPEG-2', mpeg1video: 'MPEG-1',
  mpeg4: 'MPEG-4 Part 2', prores: 'ProRes', dnxhd: 'DNxHD', mjpeg: 'Motion JPEG', vc1: 'VC-1', wmv3: 'WMV 9',
  theora: 'Theora', ffv1: 'FFV1', rawvideo: 'uncompressed', vvc: 'VVC', h263: 'H.263', dvvideo: 'DV', gif: 'GIF',
};
const AUDIO = {
  aac: 'AAC', mp3: 'MP3', mp2: 'MP2', ac3: 'Dolby Digital', eac3: 'Dolby Digital Plus', opus: 'Opus', vorbis: 'Vorbis',
  flac: 'FLAC', alac: 'ALAC', dts: 'DTS', truehd: 'Dolby TrueHD', wmav2: 'WMA', amr_nb: 'AMR',
};
const CONTAINER = {
  'mov,mp4,m4a,3gp,3g2,mj2': 'MP4', 'matroska,webm': 'Matroska', mpegts: 'MPEG-TS', avi: 'AVI', flv: 'FLV', ogg: 'Ogg',
  asf: 'Windows Media', mpeg: 'MPEG program stream', mxf: 'MXF', wav: 'WAV', mp3: 'MP3',
};
/** Still pictures go by the name of their file's kind; FFmpeg has one for each of its readers. */
const PICTURE = {
  mjpeg: 'JPEG', av1: 'AVIF', targa: 'TGA', jpeg2000: 'JPEG 2000', png: 'PNG', webp: 'WebP', gif: 'GIF', heif: 'HEIF', ico: 'ICO',
};
const HDR = { hdr10: 'HDR10', hlg: 'HLG HDR', 'dolby-vision': 'Dolby Vision' };

/**
 * A file's name as it may be shown: line breaks and the marks that turn the reading
 * direction round, which make `gpj.exe` look like `exe.jpg`, become visible.
 */
export const fileName = (name) => name.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');

/** Decimal units, as disks and networks are sold. */
export function bytes(count) {
  if (!Number.isFinite(count)) return '';
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Bits per second. */
export function bitRate(rate) {
  if (!rate) return '';
  if (rate >= 999_500) return `${(rate / 1e6).toFixed(rate < 99.5e6 ? 1 : 0)} Mb/s`;
  return `${Math.round(rate / 1000)} kb/s`;
}

/** A position or length on a clock: 0:07, 12:05, 1:02:03. */
export function clock(seconds) {
  if (!Number.isFinite(seconds)) return '';
  const whole = Math.max(0, seconds < 1 && seconds > 0 ? 1 : Math.round(seconds));
  const two = (n) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A moment as a person nearby says it: 14:05, or 19 Nov, 14:05 on another day. */
export function moment(iso, now = new Date()) {
  const date = new Date(iso ?? NaN);
  if (Number.isNaN(date.getTime())) return '';
  const time = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  const day = date.toDateString() === now.toDateString() ? {} : { day: 'numeric', month: 'short' };
  return new Intl.DateTimeFormat('en-GB', { ...time, ...day }).format(date);
}

/** A length as people say it: 45 s, 5 min, 1 h 30 min. */
export function span(seconds) {
  if (!(seconds > 0)) return '';
  if (seconds < 120 && seconds % 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return [`${Math.floor(minutes / 60)} h`, minutes % 60 ? `${minutes % 60} min` : null].filter(Boolean).join(' ');
}

/** A track of sound or captions: its own name, or its language where it has none. */
export function trackName({ name, lang }) {
  if (name && name !== lang) return name;
  try {
    return new Intl.DisplayNames('en', { type: 'language' }).of(lang);
  } catch {
    return lang || 'unnamed';
  }
}

/** Time left, as coarse as it is known. */
export function left(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return '';
  if (seconds < 1.5) return 'almost done';
  if (seconds < 60) return `${Math.round(seconds)} s left`;
  if (seconds < 3570) return `${Math.round(seconds / 60)} min left`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

/** "30000/1001" becomes 29.97; null when unknown. */
export function frameRate(rational) {
  const match = /^(\d+)\/(\d+)$/.exec(rational ?? '');
  if (!match || match[2] === '0') return null;
  return String(Number((Number(match[1]) / Number(match[2])).toFixed(2)));
}

export const videoCodec = (name) => VIDEO[name] ?? (name ? name.toUpperCase() : 'unknown codec');
export const audioCodec = (name) => {
  if (name?.startsWith('pcm_')) return 'PCM';
  return AUDIO[name] ?? (name ? name.toUpperCase() : 'unknown codec');
};
export const container = (name) => CONTAINER[name] ?? (name ? name.split(',')[0] : '');

/** The stream that a board would show: the first that is not cover art. */
export const mainVideo = (probe) => probe?.video?.find((video) => !video.attached_picture) ?? null;

/** What the eye sees, after rotation. */
export function displaySize(video) {
  if (!video?.width || !video?.height) return null;
  return video.rotation % 180 === 0 || !video.rotation ? [video.width, video.height] : [video.height, video.width];
}

/** Label and words for each thing worth knowing about a file, in reading order. */
export function facts(probe, size) {
  if (!probe) return [];
  const rows = [];
  const video = mainVideo(probe);
  if (probe.picture) {
    const { container: kind } = probe;
    const codec = kind === 'ico' || !video ? kind : video.codec;
    return [
      ['Picture', [PICTURE[codec] ?? codec?.toUpperCase(), displaySize(video)?.join(' × ')].filter(Boolean).join(', ')],
      ['File', bytes(size ?? probe.size)],
    ];
  }
  if (video) {
    const depth = video.bit_depth && video.bit_depth !== 8 ? `${video.bit_depth}-bit` : null;
    const chroma = video.chroma && video.chroma !== '4:2:0' ? video.chroma : null;
    rows.push(['Video', [
      [videoCodec(video.codec), video.profile].filter(Boolean).join(' '), depth, chroma, HDR[video.hdr] ?? video.hdr,
    ].filter(Boolean).join(', ')]);
    const shown = displaySize(video);
    const rate = frameRate(video.fps);
    const notes = [];
    if (video.rotation) notes.push(`turned ${video.rotation}°`);
    if (video.field_order && video.field_order !== 'progressive' && video.field_order !== 'unknown') notes.push('interlaced');
    if (video.sample_aspect && !/^(\d+)[/:]\1$/.test(video.sample_aspect) && !/^0[/:]/.test(video.sample_aspect)) notes.push('non-square pixels');
    rows.push(['Picture', [
      shown ? `${shown[0]} × ${shown[1]}` : 'size unknown',
      rate ? `${rate} fps${video.variable_rate ? ' (varies)' : ''}` : 'rate unknown',
      ...notes,
    ].join(', ')]);
  } else {
    rows.push(['Video', 'none']);
  }
  const audio = probe.audio?.[0];
  const more = (probe.audio?.length ?? 0) - 1;
  rows.push(['Sound', audio ? [
    [audioCodec(audio.codec), layout(audio)].filter(Boolean).join(' '),
    audio.sample_rate ? `${Number((audio.sample_rate / 1000).toFixed(1))} kHz` : null,
    more > 0 ? `and ${more} more` : null,
  ].filter(Boolean).join(', ') : 'none']);
  const rate = probe.bit_rate || (probe.duration_s ? (size * 8) / probe.duration_s : 0);
  rows.push(['File', [container(probe.container), bytes(size ?? probe.size), bitRate(rate)].filter(Boolean).join(', ')]);
  return rows;
}

function layout(audio) {
  const known = { mono: 'mono', stereo: 'stereo', '5.1': '5.1', '5.1(side)': '5.1', '7.1': '7.1' };
  return known[audio.channel_layout] ?? ({ 1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1' }[audio.channels] ?? (audio.channels ? `${audio.channels} channels` : null));
}

/** "hevc 2160p60" as the board's table writes it becomes HEVC 2160p60. */
export function target(text) {
  const [codec, ...rest] = (text ?? '').split(' ');
  return [videoCodec(codec), ...rest].join(' ');
}

/** A variant's line: what a rendered version would be. */
export function variant(want) {
  const rate = typeof want.fps === 'number' ? String(want.fps) : frameRate(want.fps) ?? want.fps;
  return [videoCodec(want.codec), want.width && want.height ? `${want.width} × ${want.height}` : null, rate ? `${rate} fps` : null].filter(Boolean).join(', ');
}
