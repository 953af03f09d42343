/** One photo, large, with its facts. */

import { ApiError, description, exposure, originalUrl, photo, thumbnailUrl } from "./api.js";
import { byId, el, icon, keepFocus, svg } from "./dom.js";
import { Region } from "./region.js";
import {
  baseName, bytesName, clock, exposureNames, longDay, parentName, photoName, placeName, quoted, sizeName,
  timeOfDay,
} from "./words.js";
import { Zoom } from "./zoom.js";

const ENLARGED = 2; // times: a small photo is not blown up further
const SWIPE = 60; // pixels
const LARGE = 1600; // pixels of the largest thumbnail
const LONG = 500; // milliseconds until it is said that the photo is still to come
const SHOWN = /\.(jpe?g|jpe|jfif|a?png|gif|webp|avif|bmp)$/i; // files that browsers show
const SOURCES = { // of a date that is not the camera's
  xmp: ", as written into the file", sidecar: ", by Google’s file beside it", name: ", by the file’s name", file: ", by the file’s date",
};

export class Viewer {
  #dialog = byId("viewer");
  #stage = byId("stage");
  #frame = byId("frame");
  #image = byId("large");
  #region;
  #zoom;
  #fineness = 0; // of what is shown: 0 is the small thumbnail, 1 the large one, 2 the file itself
  #whole = null; // the hit whose own file is shown, or is being fetched
  #comes = 0; // the timer until it is said that the photo is still to come
  #tell;
  #hit = null;

  /**
   * @param {{close: () => void, step: (by: number) => void, like: (hit, region) => void,
   *   filter: (parts: object) => void, copy: (hit) => void, describes: () => boolean}} tell
   */
  constructor(tell) {
    this.#tell = tell;
    this.#region = new Region(this.#frame, (there) => this.#regionChanged(there));
    this.#zoom = new Zoom(this.#stage, this.#frame, {
      changed: () => this.#zoomed(), moves: () => !this.#region.drawing,
    });
    byId("close").addEventListener("click", () => tell.close());
    byId("previous").addEventListener("click", () => tell.step(-1));
    byId("next").addEventListener("click", () => tell.step(1));
    byId("more-like").addEventListener("click", () => tell.like(this.#hit, null));
    byId("draw").addEventListener("click", () => this.#toggleDrawing());
    byId("region-search").addEventListener("click", () => this.#searchRegion());
    byId("region-describe").addEventListener("click", () => this.#describeRegion());
    byId("region-clear").addEventListener("click", () => this.#stopDrawing());
    byId("copy").addEventListener("click", () => tell.copy(this.#hit));
    this.#dialog.addEventListener("keydown", (event) => this.#press(event));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      tell.close();
    });
    this.#image.addEventListener("error", () => this.#dialog.classList.add("gone"));
    this.#image.addEventListener("load", () => this.#sayThatItComes(false));
    new ResizeObserver(() => this.#fit()).observe(this.#stage);
    this.#followSwipes();
  }

  get isOpen() {
    return this.#dialog.open;
  }

  get photo() {
    return this.#hit;
  }

  /** Show a photo; `place` says where it stands among the others: `{first, last}`. */
  show(hit, { first, last }) {
    this.#hit = hit;
    this.#stopDrawing();
    this.#zoom.reset();
    this.#dialog.classList.remove("gone");
    this.#dialog.setAttribute("aria-label", photoName(hit));
    keepFocus(() => {
      byId("previous").disabled = first;
      byId("next").disabled = last;
      this.#showImage(hit);
      this.#showFacts(hit);
    }, this.#stage);
    if (this.#dialog.open) byId("photo-name").textContent = photoName(hit); // a screen reader tells
    else {
      this.#dialog.showModal();
      this.#stage.focus({ preventScroll: true });
    }
    byId("facts").scrollTop = 0;
    this.#fit();
  }

  hide() {
    this.#dialog.close();
    this.#image.removeAttribute("src");
    byId("photo-name").textContent = "";
    this.#hit = null;
  }

  /** Fetch a photo's picture before it is asked for. */
  prepare(hit) {
    new Image().src = thumbnailUrl(hit.id, 1600);
  }

  // The picture

  #showImage(hit) {
    this.#image.alt = photoName(hit);
    this.#image.src = thumbnailUrl(hit.id, 640);
    this.#frame.dataset.width = hit.width ?? "";
    this.#fineness = 0;
    this.#whole = null;
    this.#sayThatItComes(false);
    this.#comes = setTimeout(() => this.#sayThatItComes(!this.#image.complete), LONG);
    this.#refine(hit, thumbnailUrl(hit.id, LARGE), 1);
    if (!hit.width) {
      this.#image.addEventListener("load", () => this.#fit(), { once: true });
    }
  }

  /** Show a better picture of the same photo when it is there. */
  async #refine(hit, source, fineness) {
    const better = new Image();
    better.src = source;
    try {
      await better.decode();
    } catch {
      return; // the one that is shown stays, or has told that the photo is gone
    }
    if (this.#hit !== hit || fineness <= this.#fineness) return;
    this.#fineness = fineness;
    this.#image.src = source;
  }

  /** Say that a photo is still to come, and show no other in its place. */
  #sayThatItComes(comes) {
    clearTimeout(this.#comes);
    this.#stage.classList.toggle("waiting", comes);
    byId("photo-comes").textContent = comes ? "The photo is being fetched" : "";
  }

  #zoomed() {
    const { scale, isOn } = this.#zoom;
    byId("zoom-level").textContent = isOn ? `${Math.round(scale * 100)}%` : "";
    this.#region.mouseDraws = !isOn;
    if (isOn) this.#sharpen(scale);
  }

  /** Take the photo's own file, where the largest thumbnail is not enough. */
  #sharpen(scale) {
    const hit = this.#hit;
    if (!hit?.width || this.#whole === hit || !SHOWN.test(hit.path)) return;
    const longer = Math.max(this.#frame.clientWidth, this.#frame.clientHeight) * scale * devicePixelRatio;
    if (longer <= LARGE || Math.max(hit.width, hit.height) <= LARGE) return;
    this.#whole = hit;
    this.#refine(hit, originalUrl(hit.id), 2);
  }

  #fit() {
    if (!this.#hit) return;
    const width = this.#hit.width ?? this.#image.naturalWidth;
    const height = this.#hit.height ?? this.#image.naturalHeight;
    if (!width || !height) return;
    this.#dialog.style.setProperty("--ratio", width / height);
    const style = getComputedStyle(this.#stage);
    const room = {
      width: this.#stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
      height: this.#stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
    };
    const scale = Math.min(room.width / width, room.height / height, ENLARGED);
    this.#frame.style.width = `${width * scale}px`;
    this.#frame.style.height = `${height * scale}px`;
    this.#zoom.keep();
  }

  // The facts

  #showFacts(hit) {
    this.#hideFace();
    byId("name").textContent = hit.title || baseName(hit.path);
    const caption = byId("caption");
    caption.textContent = hit.caption ?? "";
    caption.hidden = !hit.caption;
    const keywords = byId("keywords");
    keywords.replaceChildren(...(hit.keywords ?? []).map((word) =>
      el("li", {}, this.#link(word, { q: quoted(word), like: null, region: null, pictures: [] }, `Search for ${word}`)),
    ));
    keywords.hidden = keywords.childElementCount === 0;
    this.#markLines(hit);
    this.#listFacts(hit, {});
    this.#askMore(hit);
    byId("path").textContent = hit.path;
    byId("away").hidden = hit.present !== false;
    byId("moved").hidden = true;
    byId("original").href = originalUrl(hit.id);
    byId("original").hidden = hit.present === false;
  }

  /** Mark the lines of text in the picture that have words of the question. */
  #markLines({ lines = [] }) {
    const marks = svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", class: "lines", "aria-hidden": "true" },
      ...lines.map(({ quad }) => svg("polygon", { points: quad.map((corner) => corner.join(",")).join(" ") })));
    this.#frame.querySelector(".lines")?.remove();
    if (lines.length) this.#image.after(marks);
  }

  /** Show what answers do not tell of a photo: how large its file is, and how it was exposed. */
  async #askMore(hit) {
    const unknown = (error) => {
      if (!(error instanceof ApiError)) throw error;
      return { gone: error.status === 404 };
    };
    const known = await Promise.all([photo(hit.id).catch(unknown), exposure(hit.id).catch(unknown)]);
    if (this.#hit !== hit) return;
    const more = Object.assign({}, ...known);
    this.#listFacts(hit, more);
    byId("moved").hidden = !more.gone || hit.present === false;
    byId("original").hidden = Boolean(more.gone) || hit.present === false;
  }

  #listFacts(hit, more) {
    const focused = document.activeElement?.closest("#fact-list button")?.title;
    byId("fact-list").replaceChildren(...this.#facts(hit, more).flatMap(({ name, symbol, values }) => [
      el("dt", { title: name }, icon(symbol), el("span", { className: "unseen" }, name)),
      el("dd", {}, ...values),
    ]));
    if (focused) byId("fact-list").querySelector(`[title="${focused}"]`)?.focus();
  }

  #facts(hit, more) {
    return [this.#dateFact(hit), this.#cameraFact(hit), this.#exposureFact(more), this.#peopleFact(hit),
      this.#placeFact(hit), this.#starsFact(hit), this.#sizeFact(hit, more), this.#textFact(hit), this.#numbersFact(hit),
      this.#folderFact(hit)].filter(Boolean);
  }

  #dateFact(hit) {
    const date = clock(hit.taken_at);
    if (!date) return null;
    const day = hit.taken_at.slice(0, 10);
    const source = SOURCES[hit.taken_from] ?? "";
    return { name: "Date", symbol: "date", values: [
      this.#link(longDay(date), { since: day, until: day }, "Photos of this day"),
      el("small", {}, `${timeOfDay(date)}${source}`),
    ] };
  }

  #cameraFact(hit) {
    if (!hit.camera && !hit.lens) return null;
    return { name: "Camera", symbol: "camera", values: [
      hit.camera ? this.#link(hit.camera, { camera: hit.camera }, "Photos by this camera") : "Unknown camera",
      hit.lens ? el("small", {}, hit.lens) : "",
    ] };
  }

  #peopleFact({ people }) {
    if (!people?.length) return null;
    return { name: "People", symbol: "people", values: people.flatMap(({ name, box }, number) => {
      const link = this.#link(name, { person: [name] }, `Photos of ${name}`);
      for (const [begin, end] of box ? [["mouseenter", "mouseleave"], ["focus", "blur"]] : []) {
        link.addEventListener(begin, () => this.#showFace(name, box));
        link.addEventListener(end, () => this.#hideFace());
      }
      return number ? [", ", link] : [link];
    }) };
  }

  /** Frame a face on the photo, with the name that its owner gave it. */
  #showFace(name, [left, top, width, height]) {
    this.#hideFace();
    const face = el("div", { className: "face", ariaHidden: "true" }, el("span", {}, name));
    const sides = { left, top, width, height };
    for (const [side, share] of Object.entries(sides)) face.style[side] = `${100 * share}%`;
    this.#frame.append(face);
  }

  #hideFace() {
    this.#frame.querySelector(".face")?.remove();
  }

  #starsFact({ rating, label }) {
    const stars = rating > 0 ? this.#link("★".repeat(rating), { min_rating: String(rating) }, `Photos of ${rating} stars or more`)
      : rating < 0 ? "Rejected" : "";
    if (!stars && !label) return null;
    return { name: "Stars", symbol: "stars", values: [stars, label ? el("small", {}, label) : ""] };
  }

  #placeFact({ latitude, longitude, location, place }) {
    const parts = place ? [...new Set([place.suburb, place.town, place.region, place.country].filter(Boolean))] : [];
    // Each leads to the photos of it, and not of others that are called so elsewhere.
    const named = parts.flatMap((name, number) => {
      const link = this.#link(name, { place: [parts.slice(number).join(", ")] }, `Photos of ${name}`);
      return number ? [", ", link] : [link];
    });
    const words = location
      ? this.#link(location, { q: quoted(location), like: null, region: null, pictures: [] }, `Search for ${location}`)
      : null;
    if (typeof latitude !== "number" || typeof longitude !== "number") {
      return words && { name: "Place", symbol: "place", values: [words] };
    }
    const near = `${latitude.toFixed(5)},${longitude.toFixed(5)}`;
    const there = this.#link(placeName(latitude, longitude), { near, within: "1km" }, "Photos within a kilometre");
    return { name: "Place", symbol: "place", values: [
      ...(words ? [words, el("small", {}, ...named, named.length ? " · " : "", there)]
        : named.length ? [...named, el("small", {}, there)] : [there]),
    ] };
  }

  #exposureFact(more) {
    const names = exposureNames(more);
    return names.length ? { name: "Exposure", symbol: "exposure", values: [names.join(" · ")] } : null;
  }

  #sizeFact({ width, height }, { bytes }) {
    const names = [width && height ? sizeName(width, height) : null, bytes ? bytesName(bytes) : null].filter(Boolean);
    return names.length ? { name: "Size", symbol: "size", values: [names.join(" · ")] } : null;
  }

  #textFact({ lines = [] }) {
    if (!lines.length) return null;
    return { name: "Text in it", symbol: "text", values: lines.map(({ text }) => el("q", {}, text)) };
  }

  #numbersFact({ relevance, score, written }) {
    if (typeof score !== "number" || !document.documentElement.classList.contains("numbers")) return null;
    const parts = [typeof relevance === "number" ? `relevance ${relevance.toFixed(2)}` : null, `score ${score.toFixed(3)}`, written ? `written ${written.toFixed(2)}` : null];
    return { name: "Answer", symbol: "numbers", values: [parts.filter(Boolean).join(", ")] };
  }

  #folderFact({ path }) {
    const folder = parentName(path);
    return { name: "Folder", symbol: "folder", values: [
      this.#link(baseName(folder), { folder: [folder] }, "Photos of this folder"),
    ] };
  }

  #link(text, parts, title) {
    return el("button", {
      type: "button", className: "link", title, onclick: () => this.#tell.filter(parts),
    }, text);
  }


  // A part of it

  #regionChanged(there) {
    keepFocus(() => {
      byId("region-bar").hidden = !there && !this.#region.drawing;
      byId("region-search").hidden = !there;
      byId("region-describe").hidden = !there || !this.#tell.describes();
      byId("region-hint").hidden = there;
    }, this.#stage);
    this.#sayOfRegion("");
    this.#dialog.classList.toggle("choosing", there);
  }

  #toggleDrawing() {
    if (this.#region.drawing) {
      this.#stopDrawing();
      return;
    }
    this.#region.drawing = true;
    byId("draw").setAttribute("aria-pressed", "true");
    this.#regionChanged(false);
    this.#stage.focus({ preventScroll: true });
    this.#stage.scrollIntoView({ block: "nearest" });
  }

  #stopDrawing() {
    this.#region.drawing = false;
    byId("draw").setAttribute("aria-pressed", "false");
    this.#region.clear();
  }

  #searchRegion() {
    this.#tell.like(this.#hit, this.#region.text);
  }

  async #describeRegion() {
    const [hit, region] = [this.#hit, this.#region.text];
    this.#sayOfRegion("Looking at this part\u2026");
    const said = await description(hit.id, region).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      return { text: error.message };
    });
    if (this.#hit !== hit || this.#region.text !== region) return;
    this.#sayOfRegion(said.text || "The model wrote nothing about this part");
  }

  #sayOfRegion(text) {
    byId("region-said").hidden = !text;
    byId("region-said").textContent = text;
  }

  // Keys and fingers

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    const act = this.#region.press(event) || this.#zoom.press(event) ? () => {} : {
      ArrowLeft: () => byId("previous").disabled || this.#tell.step(-1),
      ArrowRight: () => byId("next").disabled || this.#tell.step(1),
      Escape: () => (this.#region.exists || this.#region.drawing ? this.#stopDrawing() : this.#tell.close()),
      m: () => this.#tell.like(this.#hit, null),
      c: () => this.#tell.copy(this.#hit),
      r: () => this.#region.place(),
      Enter: this.#region.exists && !event.target.closest("button, a") ? () => this.#searchRegion() : null,
    }[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #followSwipes() {
    let from = null;
    this.#stage.addEventListener("touchstart", ({ touches }) => {
      from = touches.length === 1 && !this.#region.drawing ? touches[0] : null;
    }, { passive: true });
    this.#stage.addEventListener("touchend", ({ changedTouches: [to] }) => {
      if (!from || this.#zoom.isOn || (globalThis.visualViewport?.scale ?? 1) > 1) return;
      const x = to.clientX - from.clientX;
      const y = to.clientY - from.clientY;
      if (Math.abs(x) < SWIPE || Math.abs(y) > Math.abs(x) / 2) return;
      const button = byId(x > 0 ? "previous" : "next");
      if (!button.disabled) button.click();
    }, { passive: true });
  }
}
