/** A map of where photos were taken, drawn here: no tile and no address leaves this machine. */

import * as api from "./api.js";
import { clamp, el, svg } from "./dom.js";
import { filterParameters } from "./question.js";
import { count } from "./words.js";

const LAND = `${api.BASE}static/land.svg#land`; // in tenths of a degree
const WORLD = { south: -58, west: -180, north: 84, east: 180 };
const SHAPE = 16 / 9; // width by height
const CELLS = 48; // of the grid, in the width of the map
const CLICK = 6; // pixels within which a drag is a click
const NEAREST = 0.02; // degrees that the map shows at least

export class PlacesMap {
  #change;
  #question = null;
  #view = null;
  #land;
  #dots = svg("g", { class: "dots" });
  #frame = svg("rect", { class: "frame", hidden: "" });
  #drawing;
  #world;

  /** @param {(box: string) => void} change what to do with "SOUTH,WEST,NORTH,EAST", or "" */
  constructor(change) {
    this.#change = change;
    // What lies beyond the date line is drawn once more, for boxes that reach over it.
    this.#land = svg("g", { class: "land" }, svg("use", { href: LAND }), svg("use", { href: LAND, x: "3600" }));
    this.#drawing = svg("svg", { role: "img", preserveAspectRatio: "xMidYMid slice" }, this.#land, this.#dots, this.#frame);
    this.#drawing.addEventListener("pointerdown", (event) => this.#begin(event));
    this.#world = el("button", { type: "button", className: "pill", onclick: () => change("") }, "Whole world");
    this.element = el("div", { className: "map" }, this.#drawing, this.#world);
  }

  /** Show the photos that all filters but those of places leave, and the box that is chosen. */
  async show(question) {
    this.#question = question;
    const box = boxOf(question.box);
    this.#look(box ?? WORLD);
    this.#world.hidden = box === null;
    const others = filterParameters(question, ["near", "within", "place", "box", "has"]);
    const { south, west, north, east } = this.#view;
    others.set("grid", clamp((east - west) / CELLS, 0.001, 90).toFixed(4));
    if (box !== null) others.set("box", onGlobe(south, west, north, east).join(","));
    try {
      const { dots } = await api.dots(others);
      if (question === this.#question) this.#draw(dots);
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error; // of the server's state, server.js tells
    }
  }

  /** Look at a box, with what is around it so that it fills the map. */
  #look({ south, west, north, east }) {
    const middle = (south + north) / 2;
    const narrow = Math.max(Math.cos((middle * Math.PI) / 180), 0.05); // a degree of longitude there
    const height = Math.max(north - south, ((east - west) * narrow) / SHAPE, NEAREST);
    const width = (height * SHAPE) / narrow;
    // What lies beyond the date line is to the right, where the land is drawn once more.
    const left = (west + east - width) / 2;
    const first = left < -180 && width < 360 ? left + 360 : left;
    this.#view = { south: middle - height / 2, north: middle + height / 2, west: first, east: first + width, narrow };
    const { north: top } = this.#view;
    this.#drawing.setAttribute("viewBox", [first * narrow, -top, width * narrow, height].map((it) => it * 10).join(" "));
    this.#land.setAttribute("transform", `scale(${narrow} 1)`);
  }

  #draw(dots) {
    const { west, narrow, south, north } = this.#view;
    const pixel = ((north - south) * 10) / (this.#drawing.clientHeight || 200);
    const photos = dots.reduce((sum, dot) => sum + dot.photos, 0);
    this.#drawing.setAttribute("aria-label", `A map of where ${count(photos)} ${photos === 1 ? "was" : "were"} taken`);
    this.#dots.replaceChildren(...dots.map(({ latitude, longitude, photos: many }) => svg("circle", {
      cx: String((longitude < west ? longitude + 360 : longitude) * 10 * narrow), cy: String(-latitude * 10),
      r: String((2.2 + 1.4 * Math.log10(many)) * pixel),
    }, svg("title", {}, count(many)))));
  }

  /** Where a pointer is, in degrees. */
  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.#drawing.getBoundingClientRect();
    const { south, west, north, east } = this.#view;
    return {
      longitude: west + (clamp(clientX - left, 0, width) / width) * (east - west),
      latitude: north - (clamp(clientY - top, 0, height) / height) * (north - south),
    };
  }

  #begin(begun) {
    if (begun.button !== 0 || !begun.isPrimary) return; // nor for a second finger
    begun.preventDefault();
    this.#drawing.setPointerCapture(begun.pointerId);
    const first = this.#at(begun);
    const listening = new AbortController();
    const move = (event) => this.#mark(first, this.#at(event));
    const end = (event) => {
      listening.abort();
      this.#frame.setAttribute("hidden", "");
      if (event.type === "pointercancel") return;
      const moved = Math.hypot(event.clientX - begun.clientX, event.clientY - begun.clientY);
      this.#change(boxName(moved < CLICK ? this.#around(first) : between(first, this.#at(event))));
    };
    this.#drawing.addEventListener("pointermove", move, { signal: listening.signal });
    for (const last of ["pointerup", "pointercancel"]) this.#drawing.addEventListener(last, end, { signal: listening.signal });
  }

  /** A quarter of the map around a point. */
  #around({ latitude, longitude }) {
    const { south, west, north, east } = this.#view;
    const [high, wide] = [(north - south) / 8, (east - west) / 8];
    return { south: latitude - high, north: latitude + high, west: longitude - wide, east: longitude + wide };
  }

  #mark(one, other) {
    const { narrow } = this.#view;
    const { south, west, north, east } = between(one, other);
    const sides = { x: west * narrow, y: -north, width: (east - west) * narrow, height: north - south };
    for (const [side, value] of Object.entries(sides)) this.#frame.setAttribute(side, String(value * 10));
    this.#frame.removeAttribute("hidden");
  }
}

const between = (one, other) => ({
  south: Math.min(one.latitude, other.latitude), north: Math.max(one.latitude, other.latitude),
  west: Math.min(one.longitude, other.longitude), east: Math.max(one.longitude, other.longitude),
});

/** A box as the filter has it, or "" for the whole globe; what reaches over the date line is west of 180. */
function boxName({ south, west, north, east }) {
  if (east - west >= 360) return "";
  const [low, high] = [clamp(south, -90, 90), clamp(north, -90, 90)]; // the map may show what is beyond the poles
  const around = (longitude) => ((longitude + 540) % 360) - 180;
  return [low, around(west), high, around(east)].map((it) => String(Number(it.toFixed(3)))).join(",");
}

/** The box of a filter, its east to the right of its west; null for none. */
export function boxOf(text) {
  const numbers = text.split(",").map(Number);
  if (text === "" || numbers.length !== 4 || numbers.some(Number.isNaN)) return null;
  const [south, west, north, east] = numbers;
  return { south, west, north, east: east < west ? east + 360 : east };
}

/** The sides of what is looked at as degrees that there are. */
function onGlobe(south, west, north, east) {
  const around = (degree) => ((((degree + 180) % 360) + 360) % 360) - 180;
  const wide = east - west < 359.999 ? [around(west), around(east)] : [-180, 180];
  return [clamp(south, -90, 90), wide[0], clamp(north, -90, 90), wide[1]].map((it) => it.toFixed(4));
}
