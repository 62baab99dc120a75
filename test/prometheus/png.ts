// Makes a PNG smaller: a palette in the place of the thousands of shades that smoothed edges have (https://www.w3.org/TR/png-3/).
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
const mostColors = 256;
/** Bytes of a pixel by the colour type, of 8 bits a channel. */
const channelsOf: Readonly<Record<number, number>> = { 2: 3, 6: 4 };

export interface Size {
  readonly width: number;
  readonly height: number;
}

export function sizeOf(png: Buffer): Size {
  return { width: png.readUInt32BE(16), height: png.readUInt32BE(20) };
}

/** The same picture in its 256 most frequent colours, all others being the nearest of them. Transparency is left out. */
export function withPalette(png: Buffer): Buffer {
  const { width, height } = sizeOf(png);
  const pixels = pixelsOf(png);
  const counts = new Map<number, number>();
  for (const color of pixels) counts.set(color, (counts.get(color) ?? 0) + 1);
  const palette = [...counts].sort(([, a], [, b]) => b - a).map(([color]) => color);
  palette.length = Math.min(palette.length, mostColors);
  const places = new Map(palette.map((color, index) => [color, index]));
  const known = palette.map(channels);
  const rows = Buffer.alloc((width + 1) * height);
  pixels.forEach((color, index) => {
    const place = places.get(color) ?? nearest(channels(color), known);
    places.set(color, place);
    rows[index + Math.floor(index / width) + 1] = place;
  });
  const head = Buffer.from(png.subarray(16, 29));
  head[9] = 3;
  return Buffer.concat([
    signature,
    chunk('IHDR', head),
    chunk('PLTE', Buffer.from(known.flat())),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

type Channels = readonly [number, number, number];

const channels = (color: number): Channels => [color >> 16, (color >> 8) & 255, color & 255];

function nearest([red, green, blue]: Channels, known: readonly Channels[]): number {
  const distances = known.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
  return distances.indexOf(Math.min(...distances));
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** Colours as 0xrrggbb, row by row. */
function pixelsOf(png: Buffer): Uint32Array {
  const { width, height } = sizeOf(png);
  const size = channelsOf[png[25] ?? -1];
  if (png[24] !== 8 || size === undefined || png[28] !== 0)
    throw new Error('Only pictures of 8 bits a channel that are not interlaced are read here');
  const lines = unfiltered(inflateSync(dataOf(png)), width * size, height, size);
  return Uint32Array.from({ length: width * height }, (_each, index) => lines.readUIntBE(index * size, 3));
}

function dataOf(png: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  return Buffer.concat(parts);
}

/** Takes back what each line says it was filtered by: the pixel to the left, above, both, or whichever is likeliest. */
function unfiltered(raw: Buffer, stride: number, height: number, size: number): Buffer {
  const lines = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (stride + 1)] ?? 0;
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const left = x < size ? 0 : (lines[at - size] ?? 0);
      const up = y === 0 ? 0 : (lines[at - stride] ?? 0);
      const corner = x < size || y === 0 ? 0 : (lines[at - stride - size] ?? 0);
      const guesses = [0, left, up, (left + up) >> 1, likeliest(left, up, corner)];
      lines[at] = (raw[y * (stride + 1) + 1 + x] ?? 0) + (guesses[filter] ?? 0);
    }
  }
  return lines;
}

/** Paeth's predictor. */
function likeliest(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [toLeft, toUp, toCorner] = [left, up, corner].map((value) => Math.abs(estimate - value)) as [
    number,
    number,
    number,
  ];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
