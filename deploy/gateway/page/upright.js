// Turns what the server turns and Chromium does not: WebP by its EXIF orientation.

const HAS_EXIF = 0x08; // A flag of the canvas.
const LITTLE_ENDIAN = 0x4949; // "II"
const ORIENTATION = 0x0112;
const LONG = 4;

// Where a picture goes that is w wide and h high, by orientation: what `setTransform` of a canvas takes.
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/** Returns a file that the browser shows as the server reads this one; mostly that is the file itself. */
export async function upright(file) {
  const orientation = webpOrientation(new DataView(await file.arrayBuffer()));
  const turn = TURNS[orientation];
  if (!turn) return file;
  const options = { imageOrientation: 'none', colorSpaceConversion: 'none' };
  const picture = await createImageBitmap(file, options).catch(() => null);
  if (!picture) return file;
  const { width, height } = picture;
  const canvas = orientation < 5 ? new OffscreenCanvas(width, height) : new OffscreenCanvas(height, width);
  const context = canvas.getContext('2d');
  context.setTransform(...turn(width, height));
  context.drawImage(picture, 0, 0);
  picture.close();
  return canvas.convertToBlob();
}

/** Returns what the EXIF of a WebP file says, or undefined if it is none or says nothing. */
function webpOrientation(file) {
  const isAt = (at, name) => [...name].every((letter, index) => file.getUint8(at + index) === letter.charCodeAt());
  try {
    if (!isAt(0, 'RIFF') || !isAt(8, 'WEBPVP8X')) return undefined;
    // What the canvas does not speak of does not count.
    if (!(file.getUint8(20) & HAS_EXIF)) return undefined;
    let at = 12;
    while (!isAt(at, 'EXIF')) {
      const size = file.getUint32(at + 4, true);
      at += 8 + size + (size % 2);
    }
    // Some write the marker of a JPEG before it.
    return tiffOrientation(file, at + 8 + (isAt(at + 8, 'Exif') ? 6 : 0));
  } catch (error) {
    if (error instanceof RangeError) return undefined; // The file ended.
    throw error;
  }
}

function tiffOrientation(file, start) {
  const isLittle = file.getUint16(start) === LITTLE_ENDIAN;
  const directory = start + file.getUint32(start + 4, isLittle);
  const entries = file.getUint16(directory, isLittle);
  for (let entry = directory + 2; entry < directory + 2 + 12 * entries; entry += 12) {
    if (file.getUint16(entry, isLittle) !== ORIENTATION) continue;
    const isLong = file.getUint16(entry + 2, isLittle) === LONG;
    return isLong ? file.getUint32(entry + 8, isLittle) : file.getUint16(entry + 8, isLittle);
  }
  return undefined;
}
