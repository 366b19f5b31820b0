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
  if (!response.ok) throw new ApiError(problemText(response.status, await response.text().catch(() => '')), response.status);
  return response;
}

const json = async (path) => (await call(path)).json();
const assetPath = (id) => `/api/assets/${encodeURIComponent(id)}`;

export const listAssets = () => json('/api/assets');
export const getAsset = (path) => json(path);
export const getStatus = () => json('/api/status');
export const getThisBoard = () => json('/api/board');
export const removeAsset = (id) => call(assetPath(id), { method: 'DELETE' });
export const wantStream = (id) => call(`${assetPath(id)}/stream`, { method: 'PUT' });
export const dropStream = (id) => call(`${assetPath(id)}/stream`, { method: 'DELETE' });
export const fileUrl = (id) => `${assetPath(id)}/file`;
