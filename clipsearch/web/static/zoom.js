/** A photo looked at closely: enlarged by wheel, pinch, double click, buttons or keys, and moved. */

import { byId, clamp, keepFocus } from "./dom.js";

const STEP = 1.5; // of a button or a key
const CLOSE = 2.5; // times, of a double click, unless the photo's own pixels need more
const LEAST = 4; // times that any photo can be enlarged
const MOVE = 0.15; // of the stage, by an arrow key
const NARROW = matchMedia("(max-width: 52rem)"); // where the wheel scrolls to the facts

export class Zoom {
  #stage;
  #frame;
  #tell;
  #moves;
  #scale = 1;
  #x = 0; // pixels that the photo's middle is away from the stage's
  #y = 0;
  #pointers = new Map(); // that are down, by their ids: {x, y}

  /**
   * @param {HTMLElement} stage
   * @param {HTMLElement} frame what lies exactly around the photo, in the stage's middle
   * @param {{changed: () => void, moves: () => boolean}} tell `moves`: whether a pointer may move
   *   the photo, and does not draw on it
   */
  constructor(stage, frame, tell) {
    this.#stage = stage;
    this.#frame = frame;
    this.#tell = tell.changed;
    this.#moves = tell.moves;
    byId("zoom-in").addEventListener("click", () => this.by(STEP));
    byId("zoom-out").addEventListener("click", () => this.by(1 / STEP));
    stage.addEventListener("wheel", (event) => this.#turn(event), { passive: false });
    // Not on the frame: what is moved by a pointer has the stage as the place of its clicks.
    stage.addEventListener("dblclick", (event) => this.#double(event));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, ({ pointerId }) => this.#pointers.delete(pointerId));
    }
  }

  /** How many times larger than where it just fits. */
  get scale() {
    return this.#scale;
  }

  get isOn() {
    return this.#scale > 1;
  }

  /** Show the whole photo again. */
  reset() {
    this.#pointers.clear();
    this.#set(1, 0, 0);
  }

  /** Stay within what there is to see, after the window has another size. */
  keep() {
    this.#set(this.#scale, this.#x, this.#y);
  }

  /** Enlarge so many times, with a point of the window staying where it is. */
  by(times, point = this.#middle()) {
    const scale = clamp(this.#scale * times, 1, this.#most());
    const middle = this.#middle();
    const ratio = scale / this.#scale;
    const [dx, dy] = [point.x - middle.x, point.y - middle.y];
    this.#set(scale, dx - (dx - this.#x) * ratio, dy - (dy - this.#y) * ratio);
  }

  /** Enlarge or move by a key; whether it did. */
  press({ key }) {
    const act = {
      "+": () => this.by(STEP), "=": () => this.by(STEP), "-": () => this.by(1 / STEP), 0: () => this.reset(),
      ...(this.isOn && {
        ArrowLeft: () => this.#shift(MOVE, 0), ArrowRight: () => this.#shift(-MOVE, 0),
        ArrowUp: () => this.#shift(0, MOVE), ArrowDown: () => this.#shift(0, -MOVE),
        Escape: () => this.reset(),
      }),
    }[key];
    act?.();
    return Boolean(act);
  }

  #shift(across, down) {
    const { clientWidth, clientHeight } = this.#stage;
    this.#set(this.#scale, this.#x + across * clientWidth, this.#y + down * clientHeight);
  }

  #set(scale, x, y) {
    const { clientWidth: width, clientHeight: height } = this.#frame;
    const across = Math.max(0, (width * scale - this.#stage.clientWidth) / 2);
    const down = Math.max(0, (height * scale - this.#stage.clientHeight) / 2);
    this.#scale = scale;
    this.#x = clamp(x, -across, across);
    this.#y = clamp(y, -down, down);
    this.#frame.style.transform = scale === 1 ? "" : `translate(${this.#x}px, ${this.#y}px) scale(${scale})`;
    this.#stage.classList.toggle("zoomed", scale > 1);
    keepFocus(() => {
      byId("zoom-out").disabled = scale === 1;
      byId("zoom-in").disabled = scale >= this.#most();
    }, this.#stage);
    this.#tell();
  }

  /** Up to twice the photo's own pixels. */
  #most() {
    return Math.max(LEAST, 2 * this.#own());
  }

  /** At which scale a pixel of the photo is one of the window. */
  #own() {
    const pixels = Number(this.#frame.dataset.width) || 0;
    return this.#frame.clientWidth ? pixels / (this.#frame.clientWidth * devicePixelRatio) : 1;
  }

  #middle() {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  }

  // Wheels, mice and fingers

  #turn(event) {
    if (NARROW.matches && !event.ctrlKey && !this.isOn) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    // A trackpad tells a pinch as a wheel with Ctrl, in smaller steps.
    const times = Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0025));
    this.by(times, { x: event.clientX, y: event.clientY });
  }

  #double(event) {
    if (event.target.closest("button")) return;
    const point = { x: event.clientX, y: event.clientY };
    if (this.isOn) this.reset();
    else this.by(Math.max(CLOSE, Math.min(this.#own(), this.#most())), point);
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button") || !this.#moves()) return;
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.isOn) this.#stage.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    this.#pointers.set(event.pointerId, now);
    const [other, another] = [...this.#pointers.values()].filter((pointer) => pointer !== now);
    if (another) return; // three fingers mean nothing
    if (other) this.#pinch(before, now, other);
    else if (this.isOn) this.#set(this.#scale, this.#x + now.x - before.x, this.#y + now.y - before.y);
  }

  #pinch(before, now, other) {
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    this.by(distance(now, other) / Math.max(1, distance(before, other)), middle);
    this.#set(this.#scale, this.#x + (now.x - before.x) / 2, this.#y + (now.y - before.y) / 2);
  }
}

const distance = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
