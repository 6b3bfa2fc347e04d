// Two faces beside each other, with what their similarity means, and all faces in a table.

import { drawCrop, drawn } from './photograph.js';
import { decide, similarity } from './similarity.js';
import { decisionText, rateText } from './words.js';

const part = (selector) => document.querySelector(selector);
// The similarities that the scale has room for; less than its lower end does not happen.
const [LOWEST, HIGHEST] = [-0.3, 1];

/** Returns a similarity as text, with what it means at an operating point, if there is one. */
function told(first, second, point) {
  const value = similarity(first.embedding, second.embedding);
  if (value === null) return { text: '–', words: 'not comparable, as the model was replaced in between' };
  const text = value.toFixed(3);
  if (!point) return { value, text, words: '' };
  const decision = decide(value, point);
  const [words, sign] = decisionText(decision);
  return { value, text, sign, decision, words: `${words} at ${point.name}` };
}

/**
 * Shows two faces and their similarity.
 *
 * @param {object[]} pair - two faces, or none.
 * @param {object[]} points - the operating points of the model.
 * @param {object} point - the chosen one; undefined if there are none.
 * @param {function} choose - takes another operating point.
 * @returns {string} it in a sentence.
 */
export function showPair(pair, points, point, choose) {
  part('#comparison').hidden = pair.length < 2;
  if (pair.length < 2) return '';
  const [first, second] = pair;
  drawCrop(part('#first'), first);
  drawCrop(part('#second'), second);
  const { value, text, words } = told(first, second, point);
  part('#similarity').textContent = text;
  part('#verdict').textContent = words;
  showScale(value ?? null, points);
  showPoints(value ?? null, points, point, choose);
  return `Similarity of faces ${first.number} and ${second.number}: ${text}${words && ', '}${words}.`;
}

function showScale(value, points) {
  const at = (similarity) => 20 + (560 * (Math.max(similarity, LOWEST) - LOWEST)) / (HIGHEST - LOWEST);
  const line = (from, to, name) => drawn('line', { x1: at(from), x2: at(to), y1: 24, y2: 24, class: name });
  const marks = [LOWEST, 0, 0.25, 0.5, 0.75, HIGHEST].map((value) =>
    drawn('text', { x: at(value), y: 44 }, value),
  );
  const here = value === null ? [] : [drawn('path', { d: `M${at(value)} 20l-7 -14h14z`, class: 'here' })];
  part('#scale').replaceChildren(
    line(LOWEST, HIGHEST, 'axis'),
    ...points.map((point) => line(point.threshold_low ?? 0, point.threshold_high ?? 0, 'open')),
    ...points.map(({ threshold = 0 }) =>
      drawn('line', { x1: at(threshold), x2: at(threshold), y1: 16, y2: 32, class: 'threshold' }),
    ),
    ...marks,
    ...here,
  );
}

function showPoints(value, points, chosen, choose) {
  part('#points').hidden = !points.length;
  part('#no-points').hidden = points.length > 0;
  const focused = document.activeElement?.value;
  const rows = points.map((point) => {
    const row = document.createElement('tr');
    row.classList.toggle('chosen', point === chosen);
    const name = document.createElement('th');
    name.scope = 'row';
    const label = document.createElement('label');
    const radio = document.createElement('input');
    Object.assign(radio, { type: 'radio', name: 'point', value: point.name, checked: point === chosen });
    radio.onchange = () => choose(point);
    label.append(radio, ` ${point.name}`);
    name.append(label);
    row.append(name);
    const decision = value === null ? ['–', ''] : decisionText(decide(value, point));
    for (const text of [
      point.threshold.toFixed(3),
      `${point.threshold_low.toFixed(3)} to ${point.threshold_high.toFixed(3)}`,
      rateText(point.false_match_rate),
      rateText(point.false_non_match_rate),
      decision.join(' '),
    ]) {
      row.insertCell().textContent = text;
    }
    return row;
  });
  part('#points tbody').replaceChildren(...rows);
  part(`#points input[value="${CSS.escape(focused ?? '')}"]`)?.focus();
}

/**
 * Shows how alike all faces are to each other.
 *
 * @param {function} choose - takes the pair that was chosen.
 */
export function showMatrix(faces, pair, point, choose) {
  const table = part('#matrix table');
  const hadFocus = table.contains(document.activeElement);
  part('#matrix').hidden = faces.length < 3;
  if (faces.length < 3) return;
  const head = table.createTHead();
  head.replaceChildren(row([document.createElement('td'), ...faces.map((face) => header(face, 'col'))]));
  const body = table.tBodies[0] ?? table.createTBody();
  body.replaceChildren(
    ...faces.map((first) =>
      row([header(first, 'row'), ...faces.map((second) => cell(first, second, pair, point, choose))]),
    ),
  );
  table.onkeydown = move;
  if (hadFocus) table.querySelector('[tabindex="0"]').focus();
}

function row(cells) {
  const made = document.createElement('tr');
  made.append(...cells);
  return made;
}

function header(face, scope) {
  const made = document.createElement('th');
  made.scope = scope;
  const canvas = document.createElement('canvas');
  drawCrop(canvas, face);
  canvas.hidden = !face.crop;
  made.append(canvas, `${face.number}`);
  return made;
}

function cell(first, second, pair, point, choose) {
  const made = document.createElement('td');
  if (first === second) return made;
  const chosen = first === pair[0] && second === pair[1];
  const { text, sign = '', decision, words } = told(first, second, point);
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = `${text} ${sign}`.trim();
  button.setAttribute('aria-label', `Faces ${first.number} and ${second.number}: ${text} ${words}`.trim());
  // One stop for the Tab key: the arrow keys go on from there.
  button.tabIndex = chosen ? 0 : -1;
  if (decision) button.className = decision;
  button.onclick = () => choose([first, second]);
  made.setAttribute('aria-selected', chosen);
  made.append(button);
  return made;
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** Moves the focus in the table, over the empty diagonal. */
function move(event) {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const body = event.currentTarget.tBodies[0];
  const place = event.target.closest('td');
  let [line, column] = [place.parentElement.sectionRowIndex, place.cellIndex];
  for (;;) {
    [line, column] = [line + step[0], column + step[1]];
    const next = body.rows[line]?.cells[column];
    if (!next || column === 0) return;
    const button = next.querySelector('button');
    if (!button) continue;
    for (const other of body.querySelectorAll('button')) other.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
    return;
  }
}
