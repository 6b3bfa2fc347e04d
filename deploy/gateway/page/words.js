// What the contract's names mean, and what to do about them, in words.

const AGAIN = 'Try again in a moment.';
const ACCESS = 'Give a token that this server knows, under "Access" at the end of the page.';

const ADVICE = {
  NO_FACE_FOUND: 'Crop the photograph: small faces in large ones are missed.',
  IMAGE_UNREADABLE: 'Save it as JPEG, PNG, WebP or AVIF. HEIC is read by servers that have the extra "heif".',
  IMAGE_TOO_LARGE: 'Make the photograph smaller.',
  NO_DETECTOR: 'Start the server with a detector: --detector mtcnn or --detector yunet.',
  MODEL_UNKNOWN: 'Reload the page: other models are served now.',
  MODEL_LOADING: AGAIN,
  STOPPING: AGAIN,
  OVERLOADED: AGAIN,
  ABANDONED: AGAIN,
  CREDENTIALS_MISSING: ACCESS,
  CREDENTIALS_UNKNOWN: ACCESS,
  CREDENTIALS_EXPIRED: ACCESS,
  PERMISSION: 'Ask the operator for the permission "embed", or give another token.',
  INTERNAL: 'This is a fault of the server: its log says more.',
  NO_GATEWAY: 'See whether the gateway still runs, and try again.',
  FILE_UNREADABLE: 'Choose the file again: it was changed or taken away.',
  HTTP_404: 'The gateway does not know this path: its configuration and this page are of different versions.',
  HTTP_408: 'The photograph did not come in time: try again, or make it smaller.',
  HTTP_413: 'The gateway takes no request that large: make the photograph smaller.',
  HTTP_503: 'The gateway reaches no server: see whether one runs, and says SERVING.',
  HTTP_504: 'The server took longer than the gateway waits: try again.',
};

/** Returns what to do about a reason. */
export function advice(reason) {
  return ADVICE[reason] ?? "The contract's page on errors says what this reason means.";
}

const WARNINGS = {
  SMALL: ['small: its eyes are', 'pixels apart, at least', 'are good'],
  BLURRED: ['blurred: its detail is', 'at least', 'is good'],
  NOT_FRONTAL: ['not frontal: its nose is off by', 'distances of the eyes, at most', 'is good'],
  DARK: ['dark: its luminance is', 'at least', 'is good'],
  BRIGHT: ['bright: its luminance is', 'at most', 'is good'],
  LOW_NORM: ['hardly a face to the network: the norm is', 'at least', 'is good'],
  LANDMARKS: ['not laid out as a face: its landmarks are off by', 'pixels, at most', 'is good'],
  CHANNEL_ORDER: ['bluer than it is red: by', 'at least', 'is good'],
  TURNED: ['on its side in the photograph: turned by', 'degrees, at most', 'is good'],
  UNSURE: ['perhaps no face: the detector gives it', 'at least', 'is good'],
};

/** Returns a warning as a sentence. */
export function warningText({ reason, value, limit }) {
  const [what, bound, good] = WARNINGS[reason] ?? ['measured as', 'the limit is', ''];
  return `${reason}: ${what} ${figure(value)}, ${bound} ${figure(limit)} ${good}`.trim();
}

/** Returns a number with three digits that count. */
export function figure(value) {
  return String(Number(value.toPrecision(3)));
}

const DECISIONS = {
  MATCH: ['match', '✓'],
  NO_MATCH: ['no match', '✗'],
  UNDECIDED: ['undecided', '?'],
};

/** Returns what a decision is called, and its sign. */
export function decisionText(decision) {
  return DECISIONS[decision];
}

/** Returns a share of pairs: as a percentage, or as one in so many. */
export function rateText(rate) {
  return rate > 0 && rate < 0.001 ? `1 in ${Math.round(1 / rate).toLocaleString('en')}` : `${figure(100 * rate)} %`;
}

/** Returns how far a precision is from f32. */
export function driftText(info) {
  const drift = info.drift;
  if (!drift) return info.precision === 'f32' ? 'none: others are measured against f32' : 'not measured';
  const faces = `cosine to f32 at least ${drift.min_cosine.toFixed(4)} over ${drift.faces} faces`;
  if (!drift.pairs) return faces;
  const flipped = `${drift.flipped_decisions ?? 0} of ${drift.pairs} decisions differ`;
  return `${faces}; similarities move by ${figure(drift.max_score_change ?? 0)} at most; ${flipped}`;
}

/** Returns what it means that operating points are of faces that something else found. */
export function otherDetectorText(theirs, ours) {
  const found = theirs ? `that ${theirs} found` : 'that came aligned';
  return `These rates were measured on faces ${found}; here ${ours || 'nothing'} finds them, so they may differ.`;
}
