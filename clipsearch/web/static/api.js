/** The server's answers. Every request goes to where the page came from. */

import { filterParameters, isAsked } from "./question.js";

/** The path of the page, below which all else is. */
export const BASE = new URL(".", document.baseURI).pathname;

/**
 * An error that the server told in a line; `status` is 0 where there is no server, and `picture`
 * is the number of the picture that is at fault, or null.
 */
export class ApiError extends Error {
  picture = null;

  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(BASE + path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("clipsearch does not answer", 0);
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const error = new ApiError(body?.error ?? `the server said ${response.status}`, response.status);
  error.picture = body?.image ?? null;
  throw error;
}

/** The server's state: photos, model, and an index run if one is going on. */
export const status = () => ask("api/status");

/** Have the server index the folder that its state offers; gives the state. */
export const takeOffer = () => ask("api/index", { method: "POST" });

/** One photo's facts. */
export const photo = (id) => ask(`api/photos/${id}`);

/** How a photo was exposed, read from its file. */
export const exposure = (id) => ask(`api/photos/${id}/exposure`);

/** Folders, cameras and months with their numbers of photos, of the photos that filters leave. */
export const facets = (filters) => ask(`api/facets?${filters}`);

/** Where the photos that filters leave were taken: `{dots: [{latitude, longitude, photos}]}`. */
export const dots = (filters) => ask(`api/map?${filters}`);

/** What photos show, and how many of them. */
export const labels = () => ask("api/tags");

/** The same; found out now where that was not done before, which takes a minute or two. */
export const makeLabels = () => ask("api/tags", { method: "POST" });

/** What a model writes about a part of a photo: `{model, text}`. */
export const description = (id, region) =>
  ask(`api/photos/${id}/description?${new URLSearchParams({ region })}`);

export const originalUrl = (id) => `${BASE}api/photos/${id}/original`;

/** The files of several photos, as one zip. */
export const zipUrl = (ids) => `${BASE}api/zip?${new URLSearchParams(ids.map((id) => ["id", id]))}`;

/** The picture at 160, 320, 640 or 1600 pixels. */
export const thumbnailUrl = (id, size) => `${BASE}api/photos/${id}/thumbnail?size=${size}`;

/**
 * A page of the answers to a question: `{hits, total}`.
 * @param {import("./question.js").Question} question
 * @param {Blob[]} pictures those that the question names
 */
export function search(question, pictures, { offset, k, signal }) {
  const parameters = filterParameters(question);
  parameters.set("k", k);
  parameters.set("offset", offset);
  if (question.relevant && isAsked(question)) parameters.set("relevant", question.relevant);
  if (pictures.length > 0 || (question.like !== null && question.q.trim())) {
    return searchWithPictures(question, pictures, parameters, signal);
  }
  if (question.like !== null) {
    if (question.region) parameters.set("region", question.region);
    return ask(`api/photos/${question.like}/similar?${parameters}`, { signal });
  }
  if (question.q.trim()) parameters.set("q", question.q);
  return ask(`api/search?${parameters}`, { signal });
}

async function searchWithPictures(question, pictures, parameters, signal) {
  const form = new FormData();
  for (const [name, value] of parameters) form.append(name, value);
  if (question.q.trim()) form.append("q", question.q);
  if (question.like !== null) {
    form.append("image", await fetchPicture(question.like, signal), "photo.webp");
    if (question.region) form.append("region", question.region);
  }
  for (const picture of pictures) form.append("image", picture, picture.name || "picture");
  try {
    return await ask("api/search", { method: "POST", body: form, signal });
  } catch (error) {
    if (error.status === 413) error.picture = pictures.length - 1; // the last is one too many
    else if (error.picture !== null) error.picture -= form.getAll("image").length - pictures.length;
    throw error;
  }
}

/** A photo of the library as a picture to search with: far larger than a model looks at. */
async function fetchPicture(id, signal) {
  const response = await fetch(thumbnailUrl(id, 1600), { signal });
  if (!response.ok) throw new ApiError("the photo to search with is not there", response.status);
  return response.blob();
}
