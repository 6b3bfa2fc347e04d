// One photograph on the page: the picture with its faces, or why there are none.

import { align } from './alignment.js';
import { upright } from './upright.js';
import { advice, warningText } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';

/** Returns an element of SVG. */
export function drawn(name, attributes, text = '') {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

/** Shows an error: its reason, what was said, and what to do. */
export function showError(element, error) {
  const reason = document.createElement('strong');
  reason.textContent = error.reason ?? error.name;
  element.replaceChildren(reason, `: ${error.message}. ${advice(error.reason)}`);
  element.hidden = false;
}

/** Draws an aligned face; nothing if there is no picture of it. */
export function drawCrop(canvas, face) {
  const how = face.crop ? 'aligned' : 'of which there is no picture';
  canvas.setAttribute('aria-label', `Face ${face.number} of ${face.photograph.file.name}, ${how}`);
  // Even the same size clears what is there.
  [canvas.width, canvas.height] = [face.crop?.width ?? 1, face.crop?.height ?? 1];
  if (face.crop) canvas.getContext('2d').putImageData(face.crop, 0, 0);
}

/** A file, the faces that the server found in it, and its place on the page. */
export class Photograph {
  /**
   * @param {File} file - of any kind: the server says what it cannot read.
   * @param {{remove: function, again: function}} actions - of its buttons.
   */
  constructor(file, { remove, again }) {
    this.file = file;
    this.shown = upright(file);
    this.faces = [];
    const { content } = document.getElementById('photograph');
    this.element = content.firstElementChild.cloneNode(true);
    this.#part('h3').textContent = file.name;
    this.#part('.remove').setAttribute('aria-label', `Remove ${file.name}`);
    this.#part('.remove').onclick = () => remove(this);
    this.#part('.again').setAttribute('aria-label', `Try again with ${file.name}`);
    this.#part('.again').onclick = () => again(this);
    this.#show();
  }

  /** Forgets the last answer, while the next one is awaited. */
  begin() {
    this.faces = [];
    this.element.setAttribute('aria-busy', 'true');
    this.#part('.error').hidden = this.#part('.again').hidden = true;
    this.#part('.picture svg').replaceChildren();
    this.#part('.faces').replaceChildren();
    this.#part('.answered').textContent = 'The server is looking at it.';
  }

  /** Takes what the server answered, and makes the aligned faces. */
  async found({ faces, missing, milliseconds }, size) {
    const picture = await bitmap(await this.shown);
    this.faces = faces.map((face) => ({
      ...face,
      photograph: this,
      crop: picture && align(readable(picture), face.landmarks, size),
    }));
    picture?.close();
    const time = `Round trip ${Math.round(milliseconds)} ms.`;
    const more = `${missing} smaller faces are beyond the server's limit. `;
    this.#part('.answered').textContent = (missing ? more : '') + time;
    this.element.setAttribute('aria-busy', 'false');
  }

  failed(error) {
    showError(this.#part('.error'), error);
    this.#part('.answered').textContent = '';
    this.element.setAttribute('aria-busy', 'false');
  }

  /** Draws the faces, once each has its number; `space` is that of the model that serves now. */
  draw(space) {
    const isOutdated = this.faces.some((face) => face.embedding.space !== space);
    this.#part('.outdated').hidden = !isOutdated;
    this.#part('.again').hidden = !isOutdated && this.#part('.error').hidden;
    this.#mark();
    this.#part('.faces').replaceChildren(...this.faces.map(described));
  }

  /** Takes it off the page, and its picture out of memory. */
  end() {
    URL.revokeObjectURL(this.#part('img').src);
    this.element.remove();
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #mark() {
    const image = this.#part('img');
    this.#part('.picture svg').replaceChildren(...this.faces.flatMap((face) => marks(face, image)));
  }

  async #show() {
    const image = this.#part('img');
    image.alt = `The photograph ${this.file.name}`;
    image.onload = () => {
      // The size of what is seen: upright, as the server's points are.
      this.#part('.picture svg').setAttribute('viewBox', `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
      this.#mark();
    };
    image.onerror = () => {
      this.#part('.picture').hidden = true;
      this.#part('.unseen').hidden = false;
    };
    image.src = URL.createObjectURL(await this.shown);
  }
}

/** Returns the picture with the pixels as the server has them, or null if the browser cannot read it. */
function bitmap(file) {
  return createImageBitmap(file, { colorSpaceConversion: 'none' }).catch(() => null);
}

function readable(picture) {
  return {
    width: picture.width,
    height: picture.height,
    read(left, top, width, height) {
      const context = new OffscreenCanvas(width, height).getContext('2d');
      context.drawImage(picture, -left, -top);
      return context.getImageData(0, 0, width, height);
    },
  };
}

function marks({ box, landmarks, number }, image) {
  const place = { x: box.left, y: box.top, width: box.width, height: box.height };
  const size = Math.max(image.naturalWidth, image.naturalHeight) / 18;
  return [
    drawn('rect', { ...place, class: 'edge' }),
    drawn('rect', place),
    ...landmarks.map(([cx, cy]) => drawn('circle', { cx, cy, r: box.width / 40 })),
    drawn('text', { x: box.left, y: Math.max(box.top - size / 4, size), 'font-size': size }, number),
  ];
}

function described(face) {
  const item = document.getElementById('face').content.firstElementChild.cloneNode(true);
  drawCrop(item.querySelector('canvas'), face);
  item.querySelector('canvas').hidden = !face.crop;
  const turned = face.turnedDegrees ? `, found after a turn of ${face.turnedDegrees}°` : '';
  item.querySelector('.named').textContent =
    `Face ${face.number}: score ${face.score.toFixed(2)}, norm ${face.embedding.norm.toFixed(1)}${turned}`;
  item.querySelector('.warnings').replaceChildren(
    ...face.warnings.map((warning) => {
      const line = document.createElement('li');
      line.textContent = warningText(warning);
      return line;
    }),
  );
  return item;
}
