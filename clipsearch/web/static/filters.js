/** The chips for folder, date, camera and place, and what opens below them. */

import { byId, el, icon } from "./dom.js";
import { baseName, clock, count, figure, parentName, spanName } from "./words.js";

const LONG = 8; // a list of more can be narrowed by typing
const DISTANCES = ["1km", "5km", "25km", "100km"];

export class Filters {
  #change;
  #question = null;
  #facets = { folders: [], cameras: [], months: [], places: 0 };
  #chips;

  /** @param {(parts: object) => void} change what to do with a filter's new value */
  constructor(change) {
    this.#change = change;
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
        value: ({ near, within, has }) =>
          near ? `${within || DISTANCES[1]} around ${near.replace(/,\s*/, ", ")}` : has.includes("gps") && "Any place",
        clear: { near: "", within: "", has: [] },
        fill: (panel) => this.#fillPlaces(panel),
      }),
    ];
    for (const chip of this.#chips) {
      chip.onclear = () => change(chip.cleared);
      byId("filters").append(chip.element);
      document.body.append(chip.panel);
    }
  }

  show(question) {
    this.#question = question;
    for (const chip of this.#chips) chip.show(question);
  }

  /** The folders, cameras and months to choose from, as the server's facets. */
  offer(facets) {
    this.#facets = facets;
    for (const chip of this.#chips) chip.refill();
  }

  #fillFolders(panel) {
    const chosen = new Set(this.#question.folder);
    panel.append(...choices("checkbox", this.#facets.folders.map(({ path, photos }) => ({
      text: baseName(path), note: parentName(path), photos, checked: chosen.has(path),
      choose: (checked) => {
        if (checked) chosen.add(path);
        else chosen.delete(path);
        this.#change({ folder: [...chosen] });
      },
    })), "There are no folders yet."));
  }

  #fillCameras(panel) {
    panel.append(...choices("radio", this.#facets.cameras.map(({ name, photos }) => ({
      text: name, photos, checked: name === this.#question.camera,
      choose: () => this.#change({ camera: name }),
    })), "No photo tells its camera."));
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
    const { places } = this.#facets;
    const any = el("input", { type: "checkbox", checked: has.includes("gps"), disabled: !places });
    any.addEventListener("change", () =>
      this.#change({ has: any.checked ? ["gps"] : [], near: "", within: "" }));
    const where = el("input", {
      type: "text", value: near, placeholder: "54.18, 7.89", inputMode: "text", ariaLabel: "Latitude and longitude",
    });
    const distance = el("select", { ariaLabel: "Distance" },
      ...DISTANCES.map((text) => el("option", { value: text, selected: text === (within || DISTANCES[1]) }, text.replace("km", " km"))));
    const go = () => {
      const numbers = where.value.match(/-?\d+(\.\d+)?/g) ?? [];
      where.setCustomValidity(numbers.length === 2 ? "" : "Latitude and longitude in degrees, as 54.18, 7.89");
      if (where.reportValidity()) this.#change({ near: numbers.join(","), within: distance.value, has: [] });
    };
    where.addEventListener("input", () => where.setCustomValidity(""));
    where.addEventListener("change", go);
    distance.addEventListener("change", () => where.value && go());
    panel.append(
      el("label", { className: "choice" }, any, el("span", {}, "Photos that tell their place"),
        el("small", {}, figure(places))),
      el("div", { className: "near" }, el("label", {}, "Within", distance), el("label", {}, "of", where)),
      el("p", { className: "hint" }, "An open photo’s place leads to the photos around it."),
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
      input, el("span", {}, text, note ? el("em", {}, note) : null), el("small", { ariaLabel: count(photos) }, figure(photos)));
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
