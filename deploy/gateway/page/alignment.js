// Aligns a face by its five landmarks as the server does, so that what is shown is what the network sees.
// The server's own is server/face_embedding_server/faces/alignment.py.

/** Left eye, right eye, nose, left and right corner of the mouth, in pixels of a face of 112 by 112. */
export const TEMPLATE = [
  [38.2946, 51.6963],
  [73.5318, 51.5014],
  [56.0252, 71.7366],
  [41.5493, 92.3655],
  [70.7299, 92.2041],
];
const TEMPLATE_SIDE = 112;
// A larger face is shrunk by area before it is warped, as the warp looks at four pixels for each of its own.
const MAX_WARP_SHRINKAGE = 4;

/**
 * Returns the rotation, scaling and shift that bring points closest to others, by least squares.
 *
 * It is [a, b, x, y] for (a·px − b·py + x, b·px + a·py + y): as complex numbers, a line of regression.
 */
export function similarityTransform(source, target) {
  const [sourceMean, targetMean] = [mean(source), mean(target)];
  let [a, b, variance] = [0, 0, 0];
  source.forEach((point, index) => {
    const [sx, sy] = [point[0] - sourceMean[0], point[1] - sourceMean[1]];
    const [tx, ty] = [target[index][0] - targetMean[0], target[index][1] - targetMean[1]];
    a += sx * tx + sy * ty;
    b += sx * ty - sy * tx;
    variance += sx * sx + sy * sy;
  });
  a /= variance;
  b /= variance;
  return [
    a,
    b,
    targetMean[0] - a * sourceMean[0] + b * sourceMean[1],
    targetMean[1] - b * sourceMean[0] - a * sourceMean[1],
  ];
}

/**
 * Aligns a face.
 *
 * @param {{width: number, height: number, read: function}} photograph - `read(left, top, width, height)`
 *   returns the `ImageData` of a part, of which the photograph has every pixel.
 * @param {number[][]} landmarks - x and y in pixels of the photograph, in the order of `TEMPLATE`.
 * @param {{width: number, height: number}} size - of the aligned face.
 * @returns {ImageData} black where the photograph does not reach.
 */
export function align(photograph, landmarks, size) {
  const scales = [size.width / TEMPLATE_SIDE, size.height / TEMPLATE_SIDE];
  const target = TEMPLATE.map(([x, y]) => [x * scales[0], y * scales[1]]);
  const transform = similarityTransform(landmarks, target);
  const shrinkage = 1 / Math.hypot(transform[0], transform[1]);
  const part = seen(photograph, transform, size, 2 * Math.max(1, shrinkage));
  if (part.width <= 0 || part.height <= 0) return black(size);

  let pixels = photograph.read(part.left, part.top, part.width, part.height);
  // From a pixel of the aligned face to one of the part: the inverse of the transform.
  const [a, b, x, y] = transform;
  const [c, s] = [a * shrinkage ** 2, b * shrinkage ** 2];
  let origin = [-(c * x + s * y) - part.left, s * x - c * y - part.top];
  let factors = [1, 1];
  if (shrinkage > MAX_WARP_SHRINKAGE) {
    const full = pixels;
    pixels = shrunk(
      full,
      Math.max(1, Math.round(full.width / shrinkage)),
      Math.max(1, Math.round(full.height / shrinkage)),
    );
    factors = [full.width / pixels.width, full.height / pixels.height];
    // Pixels are areas: the centre of the first one is at 0, so its edge is at -1/2.
    origin = origin.map((value, axis) => (value - (factors[axis] - 1) / 2) / factors[axis]);
  }
  return warp(pixels, size, (column, row) => [
    (c * column + s * row) / factors[0] + origin[0],
    (c * row - s * column) / factors[1] + origin[1],
  ]);
}

/** Returns the part of a photograph that an aligned face shows, with a margin in pixels. */
function seen(photograph, [a, b, x, y], size, margin) {
  const square = a * a + b * b;
  const corners = [[0, 0], [size.width, 0], [0, size.height], [size.width, size.height]];
  const points = corners.map(([column, row]) => [
    (a * (column - x) + b * (row - y)) / square,
    (a * (row - y) - b * (column - x)) / square,
  ]);
  const limits = [photograph.width, photograph.height];
  const within = (value, axis) => Math.min(Math.max(value, 0), limits[axis]);
  const [left, top] = [0, 1].map((axis) =>
    within(Math.floor(Math.min(...points.map((point) => point[axis])) - margin), axis),
  );
  const [right, bottom] = [0, 1].map((axis) =>
    within(Math.ceil(Math.max(...points.map((point) => point[axis])) + margin), axis),
  );
  return { left, top, width: right - left, height: bottom - top };
}

/** Shrinks pixels to a size: each is the mean of the area that it covers. */
function shrunk(pixels, width, height) {
  const columns = shares(pixels.width, width);
  const rows = shares(pixels.height, height);
  const small = new ImageData(width, height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const sums = [0, 0, 0, 0];
      for (const [y, heightShare] of rows[row]) {
        for (const [x, widthShare] of columns[column]) {
          const from = 4 * (y * pixels.width + x);
          const share = heightShare * widthShare;
          for (let channel = 0; channel < 4; channel += 1) {
            sums[channel] += share * pixels.data[from + channel];
          }
        }
      }
      small.data.set(sums, 4 * (row * width + column));
    }
  }
  return small;
}

/** Returns, for each of fewer pixels in a row, the pixels that it covers with its shares of them. */
function shares(from, to) {
  const factor = from / to;
  return Array.from({ length: to }, (_, index) => {
    const [start, end] = [index * factor, Math.min((index + 1) * factor, from)];
    const covered = [];
    for (let pixel = Math.floor(start); pixel < end; pixel += 1) {
      covered.push([pixel, (Math.min(pixel + 1, end) - Math.max(pixel, start)) / (end - start)]);
    }
    return covered;
  });
}

/** Takes each pixel from where a function says, between the four that are nearest. */
function warp(pixels, size, source) {
  const warped = new ImageData(size.width, size.height);
  const value = (x, y, channel) =>
    x < 0 || y < 0 || x >= pixels.width || y >= pixels.height
      ? 0
      : pixels.data[4 * (y * pixels.width + x) + channel];
  for (let row = 0; row < size.height; row += 1) {
    for (let column = 0; column < size.width; column += 1) {
      const [x, y] = source(column, row);
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [right, bottom] = [x - left, y - top];
      const at = 4 * (row * size.width + column);
      for (let channel = 0; channel < 3; channel += 1) {
        warped.data[at + channel] =
          (1 - bottom) * ((1 - right) * value(left, top, channel) + right * value(left + 1, top, channel)) +
          bottom * ((1 - right) * value(left, top + 1, channel) + right * value(left + 1, top + 1, channel));
      }
      warped.data[at + 3] = 255;
    }
  }
  return warped;
}

function black(size) {
  return warp(new ImageData(1, 1), size, () => [-2, -2]);
}

function mean(points) {
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}
