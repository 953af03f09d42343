/** The chips for folder, date, camera, place, people, stars, kind, shape and size, and what opens below them. */

import { byId, el, icon } from "./dom.js";
import { PlacesMap, boxOf } from "./map.js";
import { isAsked } from "./question.js";
import { baseName, clock, count, figure, parentName, spanName, starsName } from "./words.js";

const LONG = 8; // a list of more can be narrowed by typing
const DISTANCES = ["1km", "5km", "25km", "100km"];
const NO_PLACE = { near: "", within: "", has: [], place: [], box: "" };
const SHAPES = { landscape: "Landscape", portrait: "Portrait", square: "Square" };
const SIZES = ["2MP", "8MP", "12MP", "24MP"];

export class Filters {
  #change;
  #question = null;
  #facets = { folders: [], cameras: [], months: [], places: 0, types: [], people: [], towns: [], countries: [] };
  #chips;
  #relevant;
  #map;

  /** @param {(parts: object) => void} change what to do with a filter's new value */
  constructor(change) {
    this.#change = change;
    this.#map = new PlacesMap((box) => change({ ...NO_PLACE, box }));
    this.#chips = [
      new Chip("folder", "Folder", {
        value: ({ folder }) => folder.length && namesOf(folder),
        clear: { folder: [] },
        fill: (panel) => this.#fillFolders(panel),
      }),
      new Chip("date", "Date", {
        value: ({ since, until }) => (since || until) && spanName(since, until),
        clear: { since: "", until: "" },
        fill: (panel) => this.#fillDates(panel),
      }),
      new Chip("camera", "Camera", {
        value: ({ camera }) => camera,
        clear: { camera: "" },
        fill: (panel) => this.#fillCameras(panel),
      }),
      new Chip("place", "Place", {
        value: placeValue,
        clear: NO_PLACE,
        fill: (panel) => this.#fillPlaces(panel),
      }),
      new Chip("people", "People", {
        value: ({ person }) => person.join(", "),
        clear: { person: [] },
        fill: (panel) => this.#fillPeople(panel),
      }),
      new Chip("stars", "Stars", {
        value: ({ min_rating: stars }) => stars && starsName(stars),
        clear: { min_rating: "" },
        fill: (panel) => this.#fillStars(panel),
      }),
      new Chip("kind", "Kind", {
        value: ({ type }) => type.map(kindName).join(", "),
        clear: { type: [] },
        fill: (panel) => this.#fillKinds(panel),
      }),
      new Chip("shape", "Shape", {
        value: ({ orientation }) => SHAPES[orientation] ?? orientation,
        clear: { orientation: "" },
        fill: (panel) => this.#fillShapes(panel),
      }),
      new Chip("size", "Size", {
        value: ({ min_size: size }) => size && `${leastName(size)} or more`,
        clear: { min_size: "" },
        fill: (panel) => this.#fillSizes(panel),
      }),
    ];
    for (const chip of this.#chips) {
      chip.onclear = () => change(chip.cleared);
      byId("filters").append(chip.element);
      document.body.append(chip.panel);
    }
    this.#relevant = el("button", {
      type: "button", className: "open", id: "filter-relevant",
      onclick: () => change({ relevant: this.#question.relevant ? "" : "true" }),
    }, el("span", { className: "text" }, "Only what stands out"));
    byId("filters").append(el("div", { className: "chip" }, this.#relevant));
  }

  show(question) {
    const isElsewhere = ["box", "near", "place"].some((name) => `${question[name]}` !== `${this.#question?.[name] ?? ""}`);
    this.#question = question;
    for (const chip of this.#chips) chip.show(question);
    if (isElsewhere && this.#map.element.checkVisibility()) this.#map.show(question);
    this.#relevant.ariaPressed = String(question.relevant !== "");
    this.#relevant.parentElement.classList.toggle("set", question.relevant !== "");
    this.#relevant.parentElement.hidden = !isAsked(question) && !question.relevant;
  }

  /** The folders, cameras and months to choose from, as the server's facets. */
  offer(facets) {
    this.#facets = facets;
    for (const chip of this.#chips) chip.refill();
  }

  #fillFolders(panel) {
    this.#fillSeveral(panel, "folder", this.#facets.folders.map(({ path, photos }) => ({
      value: path, text: baseName(path), note: parentName(path), photos,
    })), "There are no folders yet.");
  }

  #fillKinds(panel) {
    this.#fillSeveral(panel, "type", this.#facets.types.map(({ type, photos }) => ({
      value: type, text: kindName(type), photos,
    })), "There are no photos yet.");
  }

  /** A list of values of which a filter can have several. */
  #fillSeveral(panel, name, items, none) {
    const chosen = new Set(this.#question[name]);
    panel.append(...choices("checkbox", items.map(({ value, ...item }) => ({
      ...item, checked: chosen.has(value),
      choose: (checked) => {
        if (checked) chosen.add(value);
        else chosen.delete(value);
        this.#change({ [name]: [...chosen] });
      },
    })), none));
  }

  #fillCameras(panel) {
    panel.append(...choices("radio", this.#facets.cameras.map(({ name, photos }) => ({
      text: name, photos, checked: name === this.#question.camera,
      choose: () => this.#change({ camera: name }),
    })), "No photo tells its camera."));
  }

  #fillPeople(panel) {
    this.#fillSeveral(panel, "person", this.#facets.people.map(({ name, photos }) => ({
      value: name, text: name, photos,
    })), "Nobody is named in these photos. Names come from the programs in which you gave them.");
  }

  #fillStars(panel) {
    panel.append(...choices("radio", ["5", "4", "3", "2", "1"].map((stars) => ({
      text: starsName(stars), checked: stars === this.#question.min_rating,
      choose: () => this.#change({ min_rating: stars }),
    }))));
  }

  #fillShapes(panel) {
    panel.append(...choices("radio", Object.entries(SHAPES).map(([name, text]) => ({
      text, checked: name === this.#question.orientation, choose: () => this.#change({ orientation: name }),
    }))));
  }

  #fillSizes(panel) {
    const { min_size: chosen } = this.#question;
    const own = el("input", {
      type: "text", value: SIZES.includes(chosen) ? "" : chosen, placeholder: "1920x1080", ariaLabel: "Pixels at least",
    });
    own.addEventListener("input", () => own.setCustomValidity(""));
    own.addEventListener("change", () => {
      const size = own.value.replace(/[×*]/g, "x").replace(/\s/g, "");
      const fits = /^(\d{1,9}x\d{1,9}|\d{1,9}(\.\d{1,3})?mp|\d{1,9}|)$/i.test(size);
      own.setCustomValidity(fits ? "" : "Pixels, as 1920x1080, 2000 for the longer side, or 8MP");
      if (own.reportValidity()) this.#change({ min_size: size });
    });
    panel.append(
      ...choices("radio", SIZES.map((size) => ({
        text: `${leastName(size)} or more`, checked: size === chosen, choose: () => this.#change({ min_size: size }),
      }))),
      el("div", { className: "own" }, el("label", {}, "Or pixels at least", own)),
    );
  }

  #fillDates(panel) {
    const { since, until } = this.#question;
    const years = [...new Set(this.#facets.months.map(({ month }) => month.slice(0, 4)))].sort().reverse();
    const year = (name) => el("button", {
      type: "button", className: "pill", ariaPressed: String(since === name && until === name),
      onclick: () => this.#change({ since: name, until: name }),
    }, name);
    const day = (label, name, value) => {
      const end = name === "until";
      const input = el("input", { type: "date", value: wholeDay(value, end) });
      input.addEventListener("change", () => this.#change({ [name]: input.value }));
      return el("label", { className: "day" }, label, input);
    };
    panel.append(
      el("div", { className: "pills" }, ...years.map(year)),
      el("div", { className: "days" }, day("From", "since", since), day("To", "until", until)),
    );
  }

  #fillPlaces(panel) {
    const { near, within, has } = this.#question;
    const { places, towns, countries } = this.#facets;
    const any = el("input", { type: "checkbox", checked: has.includes("gps"), disabled: !places });
    any.addEventListener("change", () =>
      this.#change({ ...NO_PLACE, has: any.checked ? ["gps"] : [] }));
    const where = el("input", {
      type: "text", value: near, placeholder: "Lisbon, or 54.18, 7.89", ariaLabel: "A town, or latitude and longitude",
    });
    const distance = el("select", { ariaLabel: "Distance" },
      ...DISTANCES.map((text) => el("option", { value: text, selected: text === (within || DISTANCES[1]) }, text.replace("km", " km"))));
    const go = () => {
      const numbers = where.value.match(/-?\d+(\.\d+)?/g) ?? [];
      const there = numbers.length === 2 ? numbers.join(",") : where.value.trim();
      this.#change({ ...NO_PLACE, near: there, within: there && distance.value });
    };
    where.addEventListener("change", go);
    distance.addEventListener("change", () => where.value && go());
    if (places) {
      panel.append(this.#map.element);
      this.#map.show(this.#question);
    }
    const named = [...countries, ...towns].map(({ name, photos }) => {
      const [text, ...around] = name.split(", ");
      return { value: name, text, note: around.join(", "), photos };
    });
    if (named.length) this.#fillSeveral(panel, "place", named);
    panel.append(
      el("label", { className: "choice" }, any, el("span", {}, "Photos that tell their place"),
        el("small", {}, figure(places))),
      el("div", { className: "near" }, el("label", {}, "Within", distance), el("label", {}, "of", where)),
      el("p", { className: "hint" }, "Names of places: GeoNames, CC BY 4.0. Outlines: Natural Earth."),
    );
  }
}

/** A filter's button, with another that takes the filter away, and the panel that it opens. */
class Chip {
  #name;
  #value;
  #fill;
  #label;
  #remove;

  constructor(id, name, { value, clear, fill }) {
    this.#name = name;
    this.#value = value;
    this.#fill = fill;
    this.cleared = clear;
    this.#label = el("span", { className: "text" }, name);
    const button = el("button", { type: "button", className: "open" }, icon(id), this.#label);
    this.#remove = el("button", {
      type: "button", className: "remove", hidden: true, ariaLabel: `Remove the filter: ${name}`,
      onclick: () => {
        this.onclear();
        button.focus();
      },
    }, icon("close"));
    this.element = el("div", { className: "chip", id: `filter-${id}` }, button, this.#remove);
    this.panel = el("div", { className: "panel", popover: "auto", role: "dialog", ariaLabel: name });
    button.popoverTargetElement = this.panel;
    button.setAttribute("aria-haspopup", "dialog");
    openBelow(this.panel, button);
    this.panel.addEventListener("beforetoggle", ({ newState }) => {
      if (newState === "open") this.#refresh();
    });
    this.panel.addEventListener("toggle", ({ newState }) => {
      if (newState === "open") this.panel.querySelector("input, button")?.focus();
    });
  }

  show(question) {
    const value = this.#value(question);
    this.#label.textContent = value || this.#name;
    this.#label.title = value || "";
    this.element.classList.toggle("set", Boolean(value));
    this.#remove.hidden = !value;
  }

  refill() {
    // What a person is using now stays as it is.
    if (!this.panel.matches(":popover-open")) return;
    if (!this.panel.contains(document.activeElement)) this.#refresh();
  }

  #refresh() {
    this.panel.replaceChildren();
    this.#fill(this.panel);
  }
}

/** Open a panel below its button, within the window. */
export function openBelow(panel, button) {
  panel.addEventListener("toggle", ({ newState }) => {
    if (newState !== "open") return;
    const { left, right, bottom } = button.getBoundingClientRect();
    const room = document.documentElement.clientWidth - panel.offsetWidth - 12;
    const wanted = panel.classList.contains("to-the-left") ? right - panel.offsetWidth : left;
    panel.style.left = `${Math.max(12, Math.min(wanted, room))}px`;
    panel.style.top = `${bottom + 8}px`;
  });
}

/** A list to choose from, and for a long one a box that narrows it. */
function choices(type, items, none) {
  if (items.length === 0) return [el("p", { className: "hint" }, none)];
  const rows = items.map(({ text, note, photos, checked, choose }) => {
    const input = el("input", { type, name: "choice", checked });
    input.addEventListener("change", () => choose(input.checked));
    return el("label", { className: "choice", title: note ? `${note}/${text}` : text },
      input, el("span", {}, text, note ? el("em", {}, note) : null),
      photos === undefined ? null : el("small", { ariaLabel: count(photos) }, figure(photos)));
  });
  const list = el("div", { className: "choices", role: "group" }, ...rows);
  if (rows.length <= LONG) return [list];
  const narrow = el("input", { type: "search", placeholder: "Narrow down", ariaLabel: "Narrow down" });
  narrow.addEventListener("input", () => {
    const wanted = narrow.value.toLowerCase();
    for (const row of rows) row.hidden = !row.title.toLowerCase().includes(wanted);
  });
  return [narrow, list];
}

/** What the chip for the place says. */
function placeValue({ near, within, has, place, box }) {
  if (place.length) return place.map((name) => name.split(", ")[0]).join(", ");
  if (near) return `${within || DISTANCES[1]} around ${near.replace(/,\s*/, ", ")}`;
  return (boxOf(box) && "A part of the map") || (has.includes("gps") && "Any place");
}

/** "jpeg" as "JPEG". */
const kindName = (type) => type.toUpperCase();

/** "8MP" as "8 MP", "2000" as "2000 pixels". */
const leastName = (size) =>
  /mp$/i.test(size) ? size.replace(/\s*mp$/i, " MP") : size.includes("x") ? size.replace("x", " × ") : `${size} pixels`;

function namesOf(folders) {
  const [first, ...others] = folders.map(baseName);
  return others.length ? `${first} + ${others.length}` : first;
}

/** "2024-02" as the day that a date input shows: its first, or its last. */
function wholeDay(text, end) {
  if (!text) return "";
  const [year, month, day] = text.split("-").map(Number);
  if (day) return clock(text) ? text : "";
  const last = new Date(Date.UTC(year, month || 12, 0));
  const date = end ? last : new Date(Date.UTC(year, (month || 1) - 1, 1));
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 10);
}
