/** How many photos each month has, as bars; a click, or a drag over several, asks for those. */

import { byId, clamp, el } from "./dom.js";
import { count, dateName } from "./words.js";

const NARROWEST = 6; // pixels a bar; where months have less, each bar is a year
const LABEL = 46; // pixels that a year's number takes

export class Timeline {
  #root = byId("timeline");
  #change;
  #months = []; // that are shown
  #all = null; // of the whole library; null until they are known
  #bars = []; // {span: "2024-05" or "2024", photos, element}
  #since = "";
  #until = "";

  /** @param {(parts: {since: string, until: string}) => void} change */
  constructor(change) {
    this.#change = change;
    this.#root.addEventListener("keydown", (event) => this.#press(event));
    this.#root.addEventListener("pointerdown", (event) => this.#drag(event));
    // A pointer's choice is made by #drag; what comes as a click alone is the keyboard's.
    this.#root.addEventListener("click", (event) => {
      if (event.detail === 0) this.#choose(this.#indexOf(event.target), this.#indexOf(event.target));
    });
    let width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width !== width) this.#draw();
      width = contentRect.width;
    }).observe(this.#root.parentElement);
  }

  /** The months of the whole library, as the server's facets tell them, in any order. */
  span(months) {
    this.#all = months;
    this.#draw();
  }

  /** Show months of it, as the facets of what filters leave tell them. */
  offer(months) {
    if (JSON.stringify(months) === JSON.stringify(this.#months)) return;
    this.#months = months;
    this.#draw();
  }

  /** Mark the span that is asked for. */
  show({ since, until }) {
    this.#since = since;
    this.#until = until;
    this.#mark();
  }

  #draw() {
    if (this.#all === null) return; // until then its place is kept
    const all = this.#spans(this.#all);
    // Whatever the filters leave, it stays where it is, and the photos below it with it.
    this.#root.hidden = all.length < 2;
    if (this.#root.hidden) return;
    const some = this.#spans(this.#months);
    const spans = some.length < 2 ? all : some;
    const most = Math.max(1, ...spans.map(({ photos }) => photos));
    const every = Math.ceil(LABEL / (this.#root.clientWidth / spans.length));
    let labelled = -Infinity;
    this.#bars = spans.map(({ span, photos }, index) => {
      const bar = el("span", { className: "bar" });
      // By square roots, so that a quiet month beside a wedding is still seen.
      bar.style.height = photos ? `${Math.max(8, 100 * Math.sqrt(photos / most))}%` : "0";
      const startsYear = span.length === 4 || span.endsWith("-01") || index === 0;
      const label = startsYear && index - labelled >= every && index + every / 2 < spans.length;
      if (label) labelled = index;
      const element = el("button", {
        type: "button", className: "month", tabIndex: -1, title: `${dateName(span)}: ${count(photos)}`,
        ariaLabel: `${dateName(span)}, ${count(photos)}`,
      }, bar, label ? el("span", { className: "year", ariaHidden: "true" }, span.slice(0, 4)) : null);
      return { span, photos, element };
    });
    this.#root.replaceChildren(...this.#bars.map(({ element }) => element));
    this.#mark();
    (this.#root.querySelector("[aria-pressed=true]") ?? this.#bars.at(-1).element).tabIndex = 0;
  }

  /** The months without gaps from the first to the last, or the years where those are too many. */
  #spans(months) {
    const photos = new Map(this.#months.map((row) => [row.month, row.photos]));
    const names = months.map(({ month }) => month).sort();
    if (names.length === 0) return [];
    const [first, last] = [names[0], names.at(-1)].map(monthNumber);
    if (this.#root.parentElement.clientWidth / (last - first + 1) >= NARROWEST) {
      return range(first, last).map(monthName).map((span) => ({ span, photos: photos.get(span) ?? 0 }));
    }
    const years = new Map();
    for (const [month, number] of photos) {
      years.set(month.slice(0, 4), (years.get(month.slice(0, 4)) ?? 0) + number);
    }
    return range(Math.floor(first / 12), Math.floor(last / 12))
      .map((year) => String(year).padStart(4, "0"))
      .map((span) => ({ span, photos: years.get(span) ?? 0 }));
  }

  #mark(since = this.#since, until = this.#until) {
    const any = since || until;
    this.#root.classList.toggle("chosen", Boolean(any));
    for (const { span, element } of this.#bars) {
      // A shorter date is the start of a longer one: the month of a day, the year of a month.
      const from = !since || span >= since.slice(0, span.length);
      const to = !until || span.slice(0, until.length) <= until.slice(0, span.length);
      element.ariaPressed = String(Boolean(any && from && to));
    }
  }

  #choose(from, to) {
    if (from < 0 || to < 0) return;
    const since = this.#bars[Math.min(from, to)].span;
    const until = this.#bars[Math.max(from, to)].span;
    const again = since === this.#since && until === this.#until;
    this.#change(again ? { since: "", until: "" } : { since, until });
  }

  #indexOf(target) {
    const button = target.closest(".month");
    return this.#bars.findIndex(({ element }) => element === button);
  }

  #indexAt(clientX) {
    const { left, width } = this.#root.getBoundingClientRect();
    return clamp(Math.floor(((clientX - left) / width) * this.#bars.length), 0, this.#bars.length - 1);
  }

  #drag(event) {
    if (event.button !== 0 || this.#bars.length === 0) return;
    const from = this.#indexAt(event.clientX);
    let to = from;
    const preview = () => {
      const [low, high] = [Math.min(from, to), Math.max(from, to)];
      this.#mark(this.#bars[low].span, this.#bars[high].span);
    };
    const move = (moved) => {
      to = this.#indexAt(moved.clientX);
      preview();
    };
    const end = ({ type }) => {
      this.#root.removeEventListener("pointermove", move);
      this.#root.removeEventListener("pointerup", end);
      this.#root.removeEventListener("pointercancel", end);
      if (type === "pointerup") this.#choose(from, to);
      else this.#mark();
    };
    this.#root.setPointerCapture(event.pointerId);
    this.#root.addEventListener("pointermove", move);
    this.#root.addEventListener("pointerup", end);
    this.#root.addEventListener("pointercancel", end);
    preview();
  }

  #press(event) {
    const index = this.#indexOf(event.target);
    const target = {
      ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: this.#bars.length - 1,
    }[event.key];
    if (target === undefined || index < 0) return;
    event.preventDefault();
    const next = this.#bars[clamp(target, 0, this.#bars.length - 1)].element;
    this.#bars[index].element.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

const monthNumber = (name) => Number(name.slice(0, 4)) * 12 + Number(name.slice(5)) - 1;

const monthName = (number) =>
  `${String(Math.floor(number / 12)).padStart(4, "0")}-${String((number % 12) + 1).padStart(2, "0")}`;

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => first + n);
