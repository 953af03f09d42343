/** Answers in sections: the library by months or years, what was asked by how far it stands out. */

import { isAsked } from "./question.js";
import { dateName } from "./words.js";

const FEW = 9; // photos; with less in a month on average, headings would crowd the page
const DATE = 52; // pixels that headings take
const LESS = 76;

/**
 * The hits as `{heading, hits}`, in their order.
 * @param {import("./answers.js").Answers} answers
 * @param {{month: string, photos: number}[]} months of the whole library
 */
export function sections(answers, months) {
  const { hits, certain, nothing } = answers;
  if (!isAsked(answers.question)) return byDate(hits, spanLength(months));
  if (certain === null || nothing || certain === hits.length) return [{ heading: null, hits }];
  const heading = { kind: "less", height: LESS, text: "Less certain", note: "These may still be what you mean." };
  const less = { heading, hits: hits.slice(certain) };
  return certain === 0 ? [less] : [{ heading: null, hits: hits.slice(0, certain) }, less];
}

/** How much of a date a heading says: its month (7 letters), its year (4), or nothing (0). */
function spanLength(months) {
  const photos = months.reduce((sum, month) => sum + month.photos, 0);
  return [7, 4].find((length) =>
    photos / new Set(months.map(({ month }) => month.slice(0, length))).size >= FEW) ?? 0;
}

function byDate(hits, length) {
  if (length === 0) return [{ heading: null, hits }];
  const result = [];
  let span = null;
  for (const hit of hits) {
    const own = hit.taken_at?.slice(0, length) ?? "";
    if (own !== span) {
      const text = own ? dateName(own) : "Without a date";
      result.push({ heading: { kind: "date", height: DATE, text }, hits: [] });
    }
    span = own;
    result.at(-1).hits.push(hit);
  }
  return result;
}
