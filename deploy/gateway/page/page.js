// What happens on the page: photographs come, the server is asked, and all is shown anew.

import * as api from './api.js';
import { showMatrix, showPair } from './comparison.js';
import { watch } from './live.js';
import { Photograph, showError } from './photograph.js';
import { driftText, otherDetectorText } from './words.js';

const part = (selector) => document.querySelector(selector);

let info = null; // What GetModelInfo says of the chosen model.
let point = null; // The chosen operating point.
let wanted = []; // The two faces that were chosen in the table.
const photographs = [];
// One call at a time, so that a round trip is that of one photograph alone.
let queue = Promise.resolve();

function add(files) {
  for (const file of files) {
    const photograph = new Photograph(file, { remove, again: ask });
    photographs.push(photograph);
    part('#photographs').append(photograph.element);
    ask(photograph);
  }
}

/** Has the server look at a photograph, once it has answered on those before. */
function ask(photograph) {
  photograph.begin();
  queue = queue.then(async () => {
    if (!photographs.includes(photograph)) return;
    try {
      if (!info) await begin();
      const answer = await api.embed(info.name, photograph.file, Number(info.limits.max_encoded_bytes));
      // The model can be replaced at any time.
      if (answer.faces[0].embedding.space !== info.embedding_space) await chooseModel(info.name);
      await photograph.found(answer, { width: info.input_width, height: info.input_height });
    } catch (error) {
      photograph.failed(error);
      offerAccess(error);
    }
    show();
  });
}

function remove(photograph) {
  const position = photographs.indexOf(photograph);
  photographs.splice(position, 1);
  photograph.end();
  show();
  // The focus stays near where it was.
  const next = photographs[position]?.element.querySelector('.remove') ?? part('#files');
  next.focus();
}

/** Shows everything anew. */
function show() {
  const faces = photographs.flatMap((photograph) => photograph.faces);
  faces.forEach((face, index) => (face.number = index + 1));
  photographs.forEach((photograph) => photograph.draw(info?.embedding_space));
  if (!wanted.every((face) => faces.includes(face))) wanted = [];
  const pair = wanted.length ? wanted : firstPair(faces);
  const points = info?.operating_points ?? [];
  const said = showPair(pair, points, point, (chosen) => {
    point = chosen;
    show();
  });
  showMatrix(faces, pair, point, (chosen) => {
    wanted = chosen;
    show();
  });
  part('#clear').hidden = !photographs.length;
  const counted = `${count(photographs, 'photograph')}, ${count(faces, 'face')}. `;
  part('#status').textContent = photographs.length ? counted + said : '';
}

function count(things, name) {
  return `${things.length} ${name}${things.length === 1 ? '' : 's'}`;
}

/** Returns the largest faces of the first two photographs with some, or the first two faces. */
function firstPair(faces) {
  const largest = photographs.flatMap((photograph) => photograph.faces.slice(0, 1));
  return (largest.length > 1 ? largest : faces).slice(0, 2);
}

/** Shows which models there are, and has the default one answer. */
async function begin() {
  const names = await api.modelNames();
  part('#model').replaceChildren(...names.map((name) => new Option(name)));
  await chooseModel(names[0]);
}

/** Does something about the model, and shows what goes wrong with it. */
async function attempt(action) {
  try {
    await action();
    part('#problem').hidden = true;
  } catch (error) {
    showError(part('#problem'), error);
    offerAccess(error);
  }
}

function offerAccess({ reason }) {
  if (reason?.startsWith('CREDENTIALS_')) part('#access').open = true;
}

async function chooseModel(name) {
  info = await api.modelInfo(name);
  const points = info.operating_points ?? [];
  const strictest = [...points].sort((first, second) => first.false_match_rate - second.false_match_rate)[0];
  point = points.find((each) => each.name === point?.name) ?? strictest;
  const facts = {
    precision: [info.precision, info.precision_reason].filter(Boolean).join(': '),
    drift: driftText(info),
    engine: `${info.backend} ${info.backend_version} on ${info.device}`,
    detector: info.detector || 'none',
    version: info.model_version,
  };
  for (const [fact, text] of Object.entries(facts)) part(`[data-fact="${fact}"]`).textContent = text;
  part('#weights').textContent = info.weights_note ?? '';
  part('#weights').hidden = info.weights_origin === 'WEIGHTS_ORIGIN_PUBLISHED';
  const other = points.find((each) => each.detector !== info.detector);
  part('#other-detector').textContent = other ? otherDetectorText(other.detector, info.detector) : '';
  part('#other-detector').hidden = !other;
}

part('#files').onchange = ({ target }) => {
  add([...target.files]);
  target.value = ''; // So that the same file can be chosen again.
};
part('#clear').onclick = () => [...photographs].forEach(remove);
part('#model').onchange = ({ target }) =>
  attempt(async () => {
    await chooseModel(target.value);
    photographs.forEach(ask);
  });
part('#access form').onsubmit = (event) => {
  event.preventDefault();
  api.useToken(part('#token').value);
  attempt(begin);
};
document.onpaste = ({ clipboardData }) => add([...clipboardData.files]);
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
};
document.ondragleave = ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove('dropping');
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  add([...event.dataTransfer.files]);
};

queue = attempt(begin);
watch(part('#live'));
