// The gateway's REST interface: the contract's messages as JSON, under the contract's names.

/** A call that was refused or never answered. `reason` is the contract's, or of this page's own. */
export class CallError extends Error {
  constructor(reason, message, httpStatus = 0) {
    super(message);
    this.reason = reason;
    this.httpStatus = httpStatus;
  }
}

// Kept in memory alone.
let token = '';

/** Sends an access token with all calls from now on; an empty one is none. */
export function useToken(value) {
  token = value.trim();
}

/** Returns the names of the served models, the default one first. */
export async function modelNames() {
  const { answer } = await call('/v1/models');
  return answer.models.map((model) => model.name);
}

/** Returns what GetModelInfo says of a model. */
export async function modelInfo(name) {
  return (await call(`/v1/models/${encodeURIComponent(name)}`)).answer;
}

/**
 * Has all faces of a photograph found and embedded.
 *
 * @param {string} model - its name.
 * @param {Blob} file - sent as it is: the server reads it as viewers show it.
 * @param {number} maxBytes - that the server takes.
 * @returns {{faces: object[], missing: number, milliseconds: number}} `missing` are the faces beyond the
 *   server's limit; the time is that of the round trip.
 */
export async function embed(model, file, maxBytes) {
  if (file.size > maxBytes) {
    throw new CallError('IMAGE_TOO_LARGE', `the file has ${file.size} bytes, and may have ${maxBytes}`);
  }
  const detect = { selection: 'FACE_SELECTION_ALL', upright: 'UPRIGHT_AUTO' };
  const face = { encoded: await base64(file), detect };
  const { answer, milliseconds } = await call('/v1/embeddings', { model, faces: [face] });
  const [result] = answer.results;
  return {
    faces: result.faces.faces.map(described),
    missing: result.faces_missing ?? 0,
    milliseconds,
  };
}

/** Returns the server's metrics as text, or null where the gateway does not pass them on. */
export async function metrics() {
  const response = await fetch('/metrics', { cache: 'no-store' }).catch(() => null);
  return response?.ok ? response.text() : null;
}

async function call(path, body) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  const method = body ? 'POST' : 'GET';
  const request = { method, headers, body: body && JSON.stringify(body), cache: 'no-store' };
  const started = performance.now();
  let response;
  let text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch {
    throw new CallError('NO_GATEWAY', 'the gateway gave no answer');
  }
  const milliseconds = performance.now() - started;
  const answer = parsed(text);
  if (!response.ok || !answer) throw refused(response, answer, text);
  return { answer, milliseconds };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns the error in an answer: a google.rpc.Status of the server's, or what a gateway says in words. */
function refused(response, status, text) {
  const info = status?.details?.find((detail) => detail.reason);
  const message = status?.message || text.slice(0, 200) || response.statusText;
  return new CallError(info?.reason ?? `HTTP_${response.status}`, message, response.status);
}

/** Returns an `EmbeddedFace` with the zeros that JSON leaves out, and landmarks in the template's order. */
function described({ embedding, detection, warnings = [] }) {
  const { left = 0, top = 0, width = 0, height = 0 } = detection.box;
  const { left_eye, right_eye, nose, left_mouth, right_mouth } = detection.landmarks;
  return {
    embedding,
    box: { left, top, width, height },
    landmarks: [left_eye, right_eye, nose, left_mouth, right_mouth].map(({ x = 0, y = 0 }) => [x, y]),
    score: detection.score ?? 0,
    turnedDegrees: detection.turned_degrees ?? 0,
    warnings: warnings.map(({ reason, value = 0, limit = 0 }) => ({
      reason: reason.replace('WARNING_REASON_', ''),
      value,
      limit,
    })),
  };
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = () => reject(new CallError('FILE_UNREADABLE', 'the browser cannot read the file'));
    reader.readAsDataURL(file);
  });
}
