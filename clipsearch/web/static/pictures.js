/** Pictures to search by: dropped, pasted or picked. The page holds them while it is open. */

import { byId } from "./dom.js";

const MOST = 8;

const held = new Map(); // key: {blob, url}

/** The pictures with these keys that the page still holds. */
export const blobs = (keys) => keys.filter((key) => held.has(key)).map((key) => held.get(key).blob);

/** An address under which the page shows a picture that it holds. */
export const urlOf = (key) => held.get(key).url;

/** Whether a picture is still held; after the page was loaded anew it is not. */
export const isHeld = (key) => held.has(key);

/** Hold a picture no more. */
export function drop(key) {
  URL.revokeObjectURL(urlOf(key));
  held.delete(key);
}

/**
 * Take pictures in by every way there is.
 * @param {(keys: string[]) => void} take gets the keys of new ones
 * @param {(reason: string) => void} refuse is told why something was not taken
 */
export function receive(take, refuse) {
  const keep = async (files) => {
    const given = [...files]; // before anything is waited for: a drop's list is empty then
    const fits = await Promise.all(given.map(isPicture));
    const images = given.filter((_, number) => fits[number]);
    const others = given.filter((_, number) => !fits[number]);
    if (others.length > 0) refuse(`${others.map(({ name }) => `“${name}”`).join(", ")} ${others.length === 1 ? "is no picture" : "are no pictures"}`);
    else if (images.length > MOST) refuse(`${MOST} pictures at most; these are the first`);
    const keys = images.slice(0, MOST).map((blob) => {
      const key = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
      held.set(key, { blob, url: URL.createObjectURL(blob) });
      return key;
    });
    if (keys.length > 0) take(keys);
  };
  receiveDrops(keep);
  const input = byId("file");
  byId("pick").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    keep(input.files);
    input.value = "";
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    keep(event.clipboardData.files);
  });
}

/** Whether a file may be a picture: of what a browser does not know, the server tells. */
async function isPicture(file) {
  if (file.type && !file.type.startsWith("image/")) return false;
  try {
    return (await file.slice(0, 1).arrayBuffer()).byteLength > 0;
  } catch {
    return false; // a folder
  }
}

function receiveDrops(keep) {
  const sign = byId("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    sign.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) sign.hidden = true; // out of the window
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    sign.hidden = true;
    keep(event.dataTransfer.files);
  });
}
