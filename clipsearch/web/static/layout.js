/** Where photos stand: rows that fill the width, of nearly one height, with ratios kept. */

import { clamp } from "./dom.js";

/** Width to height as shown: a strip of a panorama is shown by its middle. */
export const ratioOf = (photo) =>
  photo.width && photo.height ? clamp(photo.width / photo.height, 0.5, 3) : 1.5;

/**
 * Headings and rows from top to bottom, each with its `top` and `height`; a row has the photos
 * from `start` to `end` (not included) and their `widths`.
 * @param {{heading: object|null, ratios: number[]}[]} sections
 * @param {{width: number, rowHeight: number, gap: number, hold: boolean}} frame all in pixels;
 *   with `hold` an unfinished last row is left out, since more photos are about to fill it
 */
export function arrange(sections, { width, rowHeight, gap, hold }) {
  const blocks = [];
  let top = 0;
  let start = 0;
  for (const [number, { heading, ratios }] of sections.entries()) {
    if (heading) {
      blocks.push({ heading, top, height: heading.height });
      top += heading.height;
    }
    const rows = justify(ratios, width, rowHeight, gap);
    if (hold && number === sections.length - 1 && rows.length > 1 && !rows.at(-1).full) rows.pop();
    for (const row of rows) {
      blocks.push({
        top, height: row.height, start: start + row.from, end: start + row.to,
        widths: ratios.slice(row.from, row.to).map((ratio) => ratio * row.height),
      });
      top += row.height + gap;
    }
    start += ratios.length;
  }
  return { blocks, height: Math.max(0, top - gap) };
}

/** Cut ratios into rows whose height, when they fill the width, is as near as can be to the goal. */
function justify(ratios, width, rowHeight, gap) {
  const rows = [];
  let from = 0;
  let sum = 0;
  for (const [index, ratio] of ratios.entries()) {
    const without = fillingHeight(sum, index - from, width, gap);
    sum += ratio;
    const filling = fillingHeight(sum, index - from + 1, width, gap);
    if (filling > rowHeight) continue;
    // The row is full with this photo or without it, whichever is nearer to the goal.
    if (index > from && without / rowHeight < rowHeight / filling) {
      rows.push({ from, to: index, height: without, full: true });
      from = index;
      sum = ratio;
      if (fillingHeight(sum, 1, width, gap) > rowHeight) continue;
    }
    rows.push({ from, to: index + 1, height: fillingHeight(sum, index + 1 - from, width, gap), full: true });
    from = index + 1;
    sum = 0;
  }
  if (from < ratios.length) {
    const filling = fillingHeight(sum, ratios.length - from, width, gap);
    const full = filling < rowHeight * 1.25;
    rows.push({ from, to: ratios.length, height: full ? filling : rowHeight, full });
  }
  return rows;
}

const fillingHeight = (sum, photos, width, gap) => (width - gap * (photos - 1)) / sum;
