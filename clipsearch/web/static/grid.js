/** The photos as rows that fill the width. Only what is near the window is in the document. */

import { thumbnailUrl } from "./api.js";
import { clamp, el, icon } from "./dom.js";
import { arrange, ratioOf } from "./layout.js";
import { baseName, clock, longDay, photoName } from "./words.js";

const AROUND = 1.2; // windows above and below what is seen

export class Grid {
  #root;
  #tell;
  #sections = [];
  #hits = [];
  #hold = false;
  #blocks = [];
  #gap = 0;
  #shown = new Map(); // block number: element
  #tiles = new Map(); // photo id: element, kept while the same photo is shown again
  #active = 0; // the hit that Tab comes to
  #anchor = 0; // the hit that was selected last, from which Shift selects
  #selection;
  #waiting = false;

  /**
   * @param {HTMLElement} root
   * @param {{open: (hit) => void, like: (hit) => void, address: (hit) => string,
   *   near: () => void, leave: () => void}} tell `near`: the end is near; `leave`: upwards out of it
   * @param {import("./selection.js").Selection} selection
   */
  constructor(root, tell, selection) {
    this.#root = root;
    this.#tell = tell;
    this.#selection = selection;
    let width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth !== width) this.#arrange({ keep: width > 0 });
      width = root.clientWidth;
    }).observe(root);
    addEventListener("scroll", () => this.#soon(), { passive: true });
    addEventListener("resize", () => this.#soon());
    root.addEventListener("keydown", (event) => this.#press(event));
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.#activate(Number(tile.dataset.index));
    });
  }

  /**
   * Show hits in sections: `{heading: {kind, text, note, height}|null, hits}`.
   * With `hold`, more hits are to come, so an unfinished last row waits for them; with `stay`, Tab
   * comes to the same photo as before where that is among them.
   */
  show(sections, { hold, fresh, stay = false }) {
    const before = this.#hits[this.#active];
    this.#sections = sections.map(({ heading, hits }) => ({
      heading, ratios: hits.map(ratioOf),
    }));
    this.#hits = sections.flatMap((section) => section.hits);
    this.#hold = hold;
    if (fresh) {
      const again = stay && before ? this.#hits.findIndex(({ id }) => id === before.id) : 0;
      this.#active = this.#anchor = Math.max(0, again);
    }
    this.#arrange({ keep: false });
  }

  /** Put the focus on a photo, and bring it into view. */
  focus(index = this.#active) {
    if (this.#hits.length === 0) return;
    this.#active = clamp(index, 0, this.#hits.length - 1);
    const block = this.#blocks[this.#blockOf(this.#active)];
    if (!block) return;
    this.#scrollTo(block);
    this.#render();
    this.#tileAt(this.#active)?.querySelector("a").focus({ preventScroll: true });
  }

  /** Mark the photos that are selected. */
  mark() {
    this.#root.classList.toggle("selecting", this.#selection.isOn);
    for (const [id, tile] of this.#tiles) this.#markTile(tile, id);
  }

  /** Put the focus on a photo that was open until now. */
  focusPhoto(id) {
    const index = this.#hits.findIndex((hit) => hit.id === id);
    if (index >= 0) this.focus(index);
  }

  #arrange({ keep }) {
    const width = this.#root.clientWidth;
    if (width === 0) return;
    const style = getComputedStyle(this.#root);
    this.#gap = parseFloat(style.getPropertyValue("--gap"));
    const rowHeight = parseFloat(style.getPropertyValue("--row-height"));
    const anchor = keep ? this.#firstInView() : null;
    const { blocks, height } = arrange(this.#sections, {
      width, rowHeight, gap: this.#gap, hold: this.#hold,
    });
    const focused = this.#root.contains(document.activeElement);
    this.#blocks = blocks;
    for (const element of this.#shown.values()) element.remove();
    this.#shown.clear();
    this.#root.style.height = `${height}px`;
    this.#root.setAttribute("aria-rowcount", this.#hold ? -1 : blocks.length);
    if (anchor !== null && this.#blockOf(anchor) >= 0) {
      scrollTo(0, this.#offset() + this.#blocks[this.#blockOf(anchor)].top - this.#margin());
    }
    this.#render();
    for (const [id, tile] of this.#tiles) if (!tile.isConnected) this.#tiles.delete(id);
    if (focused) this.#tileAt(this.#active)?.querySelector("a").focus({ preventScroll: true });
  }

  // Drawing

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      // Tab comes to what is seen.
      if (!this.#root.contains(document.activeElement)) this.#active = this.#firstInView() ?? this.#active;
      this.#render();
    });
  }

  #render() {
    if (this.#blocks.length === 0) return;
    const seen = -this.#root.getBoundingClientRect().top;
    const from = seen - innerHeight * AROUND;
    const to = seen + innerHeight * (1 + AROUND);
    const wanted = new Set([this.#blockOf(this.#active)]);
    for (let n = this.#firstBelow(from); n < this.#blocks.length && this.#blocks[n].top < to; n++) {
      wanted.add(n);
    }
    wanted.delete(-1);
    for (const [number, element] of this.#shown) {
      if (!wanted.has(number)) this.#drop(number, element);
    }
    let next = this.#root.firstChild;
    for (const number of [...wanted].sort((a, b) => a - b)) {
      let element = this.#shown.get(number);
      if (element === undefined) {
        element = this.#draw(number);
        this.#shown.set(number, element);
      }
      if (element === next) next = next.nextSibling;
      else this.#root.insertBefore(element, next);
    }
    this.#markActive();
    if (this.#blocks.at(-1).top < to + innerHeight) this.#tell.near();
  }

  #draw(number) {
    const block = this.#blocks[number];
    const row = el("div", { role: "row", ariaRowIndex: number + 1 });
    row.style.transform = `translateY(${block.top}px)`;
    row.style.height = `${block.height}px`;
    if (block.heading) {
      row.className = `heading ${block.heading.kind}`;
      const { text, note } = block.heading;
      row.append(el("div", { role: "gridcell" }, el("h2", {}, text), note && el("p", {}, note)));
      return row;
    }
    row.className = "row";
    block.widths.forEach((width, place) => {
      row.append(this.#tile(block.start + place, width, block.height));
    });
    return row;
  }

  #tile(index, width, height) {
    const hit = this.#hits[index];
    const tile = this.#tiles.get(hit.id) ?? makeTile(hit);
    this.#tiles.set(hit.id, tile);
    tile.dataset.index = index;
    tile.querySelector("a").href = this.#tell.address(hit);
    tile.style.width = `${width}px`;
    this.#markTile(tile, hit.id);
    tellAnswer(tile, hit);
    const image = tile.querySelector("img");
    const size = Math.max(width, height) * devicePixelRatio > 370 ? 640 : 320;
    if (!image.src || Number(image.dataset.size) < size) {
      image.dataset.size = size;
      image.src = thumbnailUrl(hit.id, size);
    }
    return tile;
  }

  #markTile(tile, id) {
    const chosen = this.#selection.has(id);
    tile.ariaSelected = tile.querySelector(".check").ariaPressed = String(chosen);
  }

  #drop(number, element) {
    element.remove();
    this.#shown.delete(number);
    const { start, end } = this.#blocks[number];
    for (let index = start; index < end; index++) this.#tiles.delete(this.#hits[index].id);
  }

  #markActive() {
    for (const tile of this.#tiles.values()) {
      const active = Number(tile.dataset.index) === this.#active;
      tile.querySelector("a").tabIndex = active ? 0 : -1;
    }
  }

  #activate(index) {
    this.#active = index;
    this.#markActive();
  }

  // Where things are

  #tileAt(index) {
    return this.#tiles.get(this.#hits[index]?.id);
  }

  #offset() {
    return this.#root.getBoundingClientRect().top + scrollY;
  }

  /** What the page's bar covers at the top, and a little air. */
  #margin() {
    return parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
  }

  #firstBelow(y) {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#blocks[middle].top + this.#blocks[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #firstInView() {
    const y = this.#margin() - this.#root.getBoundingClientRect().top;
    return this.#blocks.slice(this.#firstBelow(y)).find((block) => !block.heading)?.start ?? null;
  }

  #blockOf(index) {
    return this.#blocks.findIndex((block) => block.start <= index && index < block.end);
  }

  #scrollTo(block) {
    const top = this.#root.getBoundingClientRect().top + block.top;
    const above = top - this.#margin();
    const below = top + block.height + this.#gap - innerHeight;
    if (above < 0) scrollBy(0, above);
    else if (below > 0) scrollBy(0, Math.min(below, above));
  }

  // Keys and clicks

  #press(event) {
    if (event.altKey || event.metaKey || !event.target.closest(".tile")) return;
    const target = this.#reach(event);
    if (target !== undefined) {
      event.preventDefault();
      if (target === null) this.#tell.leave();
      else this.focus(target);
    } else if (event.key === " ") {
      event.preventDefault();
      this.#tell.open(this.#hits[this.#active]);
    } else if (event.key === "m" && !event.ctrlKey) {
      this.#tell.like(this.#hits[this.#active]);
    } else if (event.key.toLowerCase() === "x" && !event.ctrlKey) {
      this.#select(this.#active, event.shiftKey);
    }
  }

  /** Select a photo or leave it; with `through`, select all between the last one and it. */
  #select(index, through) {
    const [low, high] = [Math.min(index, this.#anchor), Math.max(index, this.#anchor)];
    if (through) this.#selection.add(this.#hits.slice(low, high + 1));
    else this.#selection.toggle(this.#hits[index]);
    this.#anchor = index;
  }

  /** The hit that a key leads to; null leads out of the grid, undefined nowhere. */
  #reach({ key, ctrlKey }) {
    const block = this.#blocks[this.#blockOf(this.#active)];
    const last = this.#blocks.findLast((row) => !row.heading).end - 1;
    if (key === "ArrowRight") return Math.min(this.#active + 1, last);
    if (key === "ArrowLeft") return Math.max(this.#active - 1, 0);
    if (key === "Home") return ctrlKey ? 0 : block.start;
    if (key === "End") return ctrlKey ? last : block.end - 1;
    if (key === "ArrowDown") return this.#beside(1) ?? this.#active;
    if (key === "ArrowUp") return this.#beside(-1);
    return undefined;
  }

  /** The hit of the next row, upwards or downwards, that is nearest to the active one; or null. */
  #beside(step) {
    const own = this.#blockOf(this.#active);
    let number = own + step;
    while (this.#blocks[number]?.heading) number += step;
    const row = this.#blocks[number];
    if (!row) return null;
    const x = middles(this.#blocks[own], this.#gap)[this.#active - this.#blocks[own].start];
    const distances = middles(row, this.#gap).map((middle) => Math.abs(middle - x));
    return row.start + distances.indexOf(Math.min(...distances));
  }

  #click(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const index = Number(tile.dataset.index);
    // A click without a finger or a mouse is the Enter key's, which opens.
    const chooses = event.shiftKey || (this.#selection.isOn && event.detail > 0);
    if (event.target.closest(".like")) this.#tell.like(this.#hits[index]);
    else if (chooses || event.target.closest(".check")) this.#select(index, event.shiftKey);
    else this.#tell.open(this.#hits[index]);
  }
}

/** Where the photos of a row have their middles, in pixels from the left. */
function middles(row, gap) {
  let left = 0;
  return row.widths.map((width) => {
    const middle = left + width / 2;
    left += width + gap;
    return middle;
  });
}

function numbersOf(hit) {
  const parts = [hit.relevance?.toFixed(2), hit.score?.toFixed(3)];
  return parts.filter(Boolean).join(" · ");
}

/** Say on a tile what differs from one answer to the next: the same photo may be in many. */
function tellAnswer(tile, hit) {
  const date = hit.taken_at ? longDay(clock(hit.taken_at)) : "";
  const away = hit.present === false;
  const written = hit.written === 1 ? "written" : hit.written > 0 ? "partly written" : "";
  const marks = [written, away && "away"].filter(Boolean);
  tile.classList.toggle("away", away);
  tile.dataset.marks = marks.join(", ");
  tile.title = written ? "What was asked for is written in its name, folders, title, caption or keywords, or can be read in it" : "";
  tile.querySelector("a").ariaLabel = [photoName(hit), date, written, away && "not there now"].filter(Boolean).join(", ");
  tile.querySelector(".number").textContent = numbersOf(hit);
}

function makeTile(hit) {
  const name = photoName(hit);
  const image = el("img", { alt: "", decoding: "async", loading: "lazy", draggable: false });
  const tile = el(
    "div", { role: "gridcell", className: "tile", ariaLabel: name },
    el("a", { tabIndex: -1 }, image),
    el("span", { className: "number", ariaHidden: "true" }),
    el("button", {
      type: "button", className: "check", tabIndex: -1, title: "Select (X)", ariaLabel: `Select ${name}`,
      ariaPressed: "false",
    }, icon("check")),
    el("button", {
      type: "button", className: "like", tabIndex: -1, title: "More like this (M)",
      ariaLabel: `More like ${name}`,
    }, icon("similar")),
  );
  image.addEventListener("load", () => tile.classList.add("loaded"));
  image.addEventListener("error", () => {
    tile.classList.add("gone");
    tile.querySelector("a").append(el("span", {}, baseName(hit.path)));
  }, { once: true });
  return tile;
}
