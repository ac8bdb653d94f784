// A GIF of futures side by side, written here: 256 colours that fit the pictures, and LZW.

const SCALE = 3; // screen pixels of one
const GAP = 2;
const BORDERS = { given: [42, 111, 151], imagined: [180, 80, 30] };
const LEVELS = 5; // bits of each channel by which colours are counted

// frames: over time, of each future: uint8 [H, W, 3]; given: how many of them were given.
export function gif(frames, { height, width, given, rate }) {
  const across = frames[0].length;
  const [w, h] = [across * (width + 2 * GAP), height + 2 * GAP];
  const drawn = frames.map((futures, t) => {
    const picture = new Uint8Array(w * h * 3);
    const border = t < given ? BORDERS.given : BORDERS.imagined;
    for (let i = 0; i < picture.length; i++) picture[i] = border[i % 3];
    futures.forEach((pixels, k) => {
      for (let y = 0; y < height; y++) {
        const to = ((y + GAP) * w + k * (width + 2 * GAP) + GAP) * 3;
        picture.set(pixels.subarray(y * width * 3, (y + 1) * width * 3), to);
      }
    });
    return picture;
  });
  const { palette, nearest } = colours(drawn);
  const bytes = [];
  const word = (value) => bytes.push(value & 255, value >> 8);
  for (const letter of "GIF89a") bytes.push(letter.charCodeAt(0));
  word(w * SCALE);
  word(h * SCALE);
  bytes.push(0xf7, 0, 0, ...palette);
  bytes.push(0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0);
  const delay = Math.max(2, Math.round(100 / rate));
  drawn.forEach((picture, t) => {
    bytes.push(0x21, 0xf9, 4, 4);
    word(t === drawn.length - 1 ? 8 * delay : delay);
    bytes.push(0, 0, 0x2c, 0, 0, 0, 0);
    word(w * SCALE);
    word(h * SCALE);
    bytes.push(0, 8);
    const indices = new Uint8Array(w * h * SCALE * SCALE);
    for (let y = 0, at = 0; y < h * SCALE; y++) {
      for (let x = 0; x < w * SCALE; x++) {
        const from = (Math.floor(y / SCALE) * w + Math.floor(x / SCALE)) * 3;
        indices[at++] = nearest(picture[from], picture[from + 1], picture[from + 2]);
      }
    }
    pack(indices, bytes);
  });
  bytes.push(0x3b);
  return new Blob([Uint8Array.from(bytes)], { type: "image/gif" });
}

// The commonest colours, and the nearest of them to any.
function colours(pictures) {
  const counts = new Map();
  const key = (r, g, b) => ((r >> (8 - LEVELS)) << (2 * LEVELS)) | ((g >> (8 - LEVELS)) << LEVELS) | (b >> (8 - LEVELS));
  for (const picture of pictures) {
    for (let i = 0; i < picture.length; i += 3) {
      const at = key(picture[i], picture[i + 1], picture[i + 2]);
      const sums = counts.get(at) ?? [0, 0, 0, 0];
      counts.set(at, [sums[0] + 1, sums[1] + picture[i], sums[2] + picture[i + 1], sums[3] + picture[i + 2]]);
    }
  }
  // Half of the room for the commonest, half spread over the others, which a push may hang on.
  const sorted = [...counts.values()].sort((a, b) => b[0] - a[0]);
  const rest = sorted.slice(128);
  const spread = Array.from({ length: Math.min(128, rest.length) }, (_, i) => rest[Math.floor((i * rest.length) / 128)]);
  const chosen = [...sorted.slice(0, 128), ...spread].map(([n, r, g, b]) => [r / n, g / n, b / n].map(Math.round));
  while (chosen.length < 256) chosen.push([0, 0, 0]);
  const known = new Map();
  const nearest = (r, g, b) => {
    const at = key(r, g, b);
    if (!known.has(at)) {
      let [best, least] = [0, Infinity];
      chosen.forEach(([x, y, z], i) => {
        const apart = (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2;
        if (apart < least) [best, least] = [i, apart];
      });
      known.set(at, best);
    }
    return known.get(at);
  };
  return { palette: chosen.flat(), nearest };
}

// LZW with codes of 9 to 12 bits, in blocks of 255 bytes.
function pack(indices, bytes) {
  const [clear, end] = [256, 257];
  const out = [];
  let [held, bits] = [0, 0];
  const emit = (code, size) => {
    held |= code << bits;
    bits += size;
    while (bits >= 8) {
      out.push(held & 255);
      held >>>= 8;
      bits -= 8;
    }
  };
  let [table, next, size] = [new Map(), end + 1, 9];
  emit(clear, size);
  let prefix = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const pair = (prefix << 8) | indices[i];
    const code = table.get(pair);
    if (code !== undefined) {
      prefix = code;
      continue;
    }
    emit(prefix, size);
    if (next === 4096) {
      emit(clear, size);
      [table, next, size] = [new Map(), end + 1, 9];
    } else {
      if (next === 1 << size) size++;
      table.set(pair, next++);
    }
    prefix = indices[i];
  }
  emit(prefix, size);
  emit(end, size);
  if (bits) out.push(held & 255);
  for (let i = 0; i < out.length; i += 255) {
    const block = out.slice(i, i + 255);
    bytes.push(block.length, ...block);
  }
  bytes.push(0);
}
