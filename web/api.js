// The server's HTTP API, one function per call. The border where HTTP answers and
// problem details (RFC 9457) become values and `ApiError`s with words for a person.

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** The sentence a problem document carries, or one made from the status alone. */
export function problemText(status, body) {
  try {
    const problem = JSON.parse(body);
    const text = problem.detail || problem.title;
    if (text) return String(text);
  } catch {
    // Not a problem document: a proxy's page, or nothing at all.
  }
  if (status === 507) return 'the server has no space left for it';
  if (status === 413) return 'it is larger than this server accepts';
  return `the server answered with status ${status}`;
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', ...options });
  } catch {
    throw new ApiError('the server cannot be reached');
  }
  // Whoever shows the page's views asks who is signed in, and shows what is needed.
  if (response.status === 401 && path !== '/api/session') dispatchEvent(new Event('kinora-signed-out'));
  if (!response.ok) throw new ApiError(problemText(response.status, await response.text().catch(() => '')), response.status);
  return response;
}

const json = async (path) => (await call(path)).json();
const assetPath = (id) => `/api/assets/${encodeURIComponent(id)}`;
const streamPath = (name) => `/api/streams/${encodeURIComponent(name)}`;

const send = (path, method, body) => call(path, { method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
const devicePath = (code) => `/api/device/${encodeURIComponent(code)}`;

export const getSession = () => json('/api/session');
export const signIn = async (token) => (await send('/api/session', 'POST', { token })).json();
const playlistPath = (name) => `/api/playlists/${encodeURIComponent(name)}`;
export const listPlaylists = () => json('/api/playlists');
/** What of a playlist plays at this moment. */
export const playingNow = (name) => json(`${playlistPath(name)}/now`);
export const removePlaylist = (name) => call(playlistPath(name), { method: 'DELETE' });
/** Writes a playlist over the version that was read. */
export const putPlaylist = async (name, version, program) => (await call(playlistPath(name), {
  method: 'PUT', headers: { 'Content-Type': 'application/json', 'If-Match': `"${version}"` }, body: JSON.stringify(program),
})).json();
export const listRemotes = () => json('/api/remotes');
export const addRemote = async (wanted) => (await send('/api/remotes', 'POST', wanted)).json();
export const retryRemote = (id) => call(`/api/remotes/${encodeURIComponent(id)}`, { method: 'POST' });
export const removeRemote = (id) => call(`/api/remotes/${encodeURIComponent(id)}`, { method: 'DELETE' });
export const signOut = () => call('/api/session', { method: 'DELETE' });
export const listTokens = () => json('/api/tokens');
export const addToken = async (wanted) => (await send('/api/tokens', 'POST', wanted)).json();
export const revokeToken = (id) => call(`/api/tokens/${encodeURIComponent(id)}`, { method: 'DELETE' });
export const getDevice = (code) => json(devicePath(code));
export const answerDevice = (code, allow) => send(devicePath(code), 'POST', { allow });
/** So many of the newest assets whose name contains the text, and how many there are. */
export async function listAssets(limit, search) {
  const assets = [];
  let next = `/api/assets?limit=${Math.min(limit, 1000)}${search ? `&search=${encodeURIComponent(search)}` : ''}`;
  let total = 0;
  while (next && assets.length < limit) {
    const response = await call(next);
    total = Number(response.headers.get('Kinora-Total') ?? 0);
    next = /<([^>]+)>; rel="next"/.exec(response.headers.get('Link') ?? '')?.[1];
    assets.push(...(await response.json()));
  }
  return { assets, total: Math.max(total, assets.length) };
}
export const getRendering = () => json('/api/variants');
export const listBoards = () => json('/api/boards');
export const enrolBoard = (id, policy) => send(`/api/boards/${encodeURIComponent(id)}`, 'PUT', { policy });
export const removeBoard = (id) => call(`/api/boards/${encodeURIComponent(id)}`, { method: 'DELETE' });
/** Pauses, resumes, cancels, tries again or orders the rendering of one asset, or of all. */
export const changeVariants = async (id, change) => (await send(id === null ? '/api/variants' : `${assetPath(id)}/variants`, 'PATCH', change)).json();
export const getAsset = (path) => json(path);
export const getAssetById = (id) => json(assetPath(id));
export const getStatus = () => json('/api/status');
export const getThisBoard = () => json('/api/board');
export const removeAsset = (id) => call(assetPath(id), { method: 'DELETE' });
export const wantStream = (id) => call(`${assetPath(id)}/stream`, { method: 'PUT' });
export const dropStream = (id) => call(`${assetPath(id)}/stream`, { method: 'DELETE' });
export const listStreams = () => json('/api/streams');
export const addStream = async (asked) => (await send('/api/streams', 'POST', asked)).json();
/** Ends a stream; what is there of it stays. */
export const endStream = (name) => call(`${streamPath(name)}?keep=true`, { method: 'DELETE' });
export const removeStream = (name) => call(streamPath(name), { method: 'DELETE' });
/** A playlist's text; the browser asks whether the one it has is still the newest. */
export const getPlaylist = async (url) => (await call(url, { cache: 'no-cache' })).text();
export const fileUrl = (id) => `${assetPath(id)}/file`;
