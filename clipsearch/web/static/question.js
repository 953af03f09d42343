/** What is asked, as a plain object that is never changed, and how the page's address says it. */

/**
 * @typedef {object} Question
 * @property {string} q words
 * @property {number|null} like the id of a photo to be like
 * @property {string|null} region the part of that photo that counts: "x%,y%,width%,height%"
 * @property {string[]} pictures keys of pictures that the page holds (pictures.js)
 * @property {string[]} folder photos in any of these folders
 * @property {string} since dates, as "2024", "2024-05" or "2024-05-31"
 * @property {string} until
 * @property {string} camera
 * @property {string} near "latitude,longitude" or a town
 * @property {string} within "5km"
 * @property {string[]} has facts that photos must have, as "gps"
 * @property {string[]} type kinds of files, as "jpeg" or "raw"
 * @property {string} orientation "landscape", "portrait" or "square"
 * @property {string} min_size "8MP", "1920x1080" or "2000" (the longer side)
 * @property {string[]} person people who are named in photos, all of them
 * @property {string} min_rating stars, "1" to "5"
 * @property {string[]} place towns, regions or countries, any of them
 * @property {string} box a part of the map: "south,west,north,east"
 * @property {string} relevant "true" for only what stands out
 */

/** @type {Question} */
export const NOTHING = Object.freeze({
  q: "", like: null, region: null, pictures: [],
  folder: [], since: "", until: "", camera: "", near: "", within: "", has: [],
  type: [], orientation: "", min_size: "", person: [], min_rating: "", place: [], box: "", relevant: "",
});

const FILTERS = ["folder", "since", "until", "camera", "near", "within", "has", "type", "orientation", "min_size",
  "person", "min_rating", "place", "box"];
const LISTS = new Set(["folder", "has", "type", "person", "place", "pictures"]);

// A sign, a factor or quotes with nothing after them yet.
const UNFINISHED = /(?:(?:^|\s+)[+-](?:\s+[^\s*"]+\s*\*)?|^[^\s*"]+\s*\*|(?:^|\s+)""?)\s*$/;

/** Words as far as they say something, while they are typed: "beach" of "beach +". */
export function finished(text) {
  const rest = text.replace(UNFINISHED, "").trim();
  return rest === text.trim() ? rest : finished(rest);
}

/** The question with some of its parts replaced. */
export const changed = (question, parts) => ({ ...question, ...parts });

/** The question without its filters. */
export const unfiltered = (question) =>
  changed(question, Object.fromEntries([...FILTERS, "relevant"].map((name) => [name, NOTHING[name]])));

/** Whether anything is asked; if not, the library itself is shown. */
export const isAsked = (question) =>
  question.q.trim() !== "" || question.like !== null || question.pictures.length > 0;

/** Whether words alone are asked. */
export const isWords = (question) =>
  isAsked(question) && question.like === null && question.pictures.length === 0;

/** Whether the server has to look at a picture for it, and not only to compare what it knows. */
export const needsEyes = ({ q, like, region, pictures }) =>
  pictures.length > 0 || region !== null || (like !== null && q.trim() !== "");

/** Whether any filter is set. */
export const isFiltered = (question) => filterParameters(question).size > 0 || question.relevant !== "";

/** The filters as parameters, with `without` left out. */
export function filterParameters(question, without = []) {
  return parameters(question, FILTERS.filter((name) => !without.includes(name)));
}

/** The whole question as parameters: what the address holds, and one text for each question. */
export function addressParameters(question) {
  return parameters(question, ["q", "like", "region", "pictures", ...FILTERS, "relevant"]);
}

/** The question that an address holds. */
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const parts = {};
  for (const name of Object.keys(NOTHING)) {
    if (LISTS.has(name)) parts[name] = given.getAll(name);
    else if (given.has(name)) parts[name] = given.get(name);
  }
  parts.like = /^\d+$/.test(parts.like ?? "") ? Number(parts.like) : null;
  if (parts.like === null) parts.region = null;
  return changed(NOTHING, parts);
}

function parameters(question, names) {
  const result = new URLSearchParams();
  for (const name of names) {
    for (const value of [question[name]].flat()) {
      if (value !== null && value !== "") result.append(name, value);
    }
  }
  return result;
}
