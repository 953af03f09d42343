/** A rectangle drawn on a photo, by mouse, finger or keys. */

import { clamp, el } from "./dom.js";

const SMALLEST = 0.03; // of the photo's width or height; less is a slip of the hand
const STEP = 0.02;

export class Region {
  #frame;
  #box;
  #tell;
  #drawing = false; // whether a finger draws, too
  /** Whether a mouse draws where drawing was not asked for. */
  mouseDraws = true;
  #rectangle = null; // {x, y, width, height}, of the photo, 0 to 1

  /**
   * @param {HTMLElement} frame what lies exactly around the photo
   * @param {(there: boolean) => void} tell whether there is a rectangle now
   */
  constructor(frame, tell) {
    this.#frame = frame;
    this.#tell = tell;
    this.#box = el("div", { className: "region", hidden: true });
    frame.append(this.#box);
    frame.addEventListener("pointerdown", (event) => this.#start(event));
  }

  /** Let a finger draw as well. */
  set drawing(on) {
    this.#drawing = on;
    this.#frame.classList.toggle("drawing", on);
  }

  get drawing() {
    return this.#drawing;
  }

  get exists() {
    return this.#rectangle !== null;
  }

  /** "x%,y%,width%,height%", or null. */
  get text() {
    if (!this.#rectangle) return null;
    const { x, y, width, height } = this.#rectangle;
    return [x, y, width, height].map((part) => `${(part * 100).toFixed(1)}%`).join(",");
  }

  /** Put a rectangle in the middle of the photo, to be moved by keys. */
  place() {
    this.#set({ x: 0.25, y: 0.25, width: 0.5, height: 0.5 });
  }

  clear() {
    this.#set(null);
  }

  /** Move the rectangle by an arrow key, or resize it with Shift; whether the key did so. */
  press({ key, shiftKey }) {
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[key];
    if (!step || !this.#rectangle) return false;
    let { x, y, width, height } = this.#rectangle;
    if (shiftKey) {
      width = clamp(width + step[0], SMALLEST, 1 - x);
      height = clamp(height + step[1], SMALLEST, 1 - y);
    } else {
      x = clamp(x + step[0], 0, 1 - width);
      y = clamp(y + step[1], 0, 1 - height);
    }
    this.#set({ x, y, width, height });
    return true;
  }

  #set(rectangle) {
    this.#rectangle = rectangle;
    this.#box.hidden = rectangle === null;
    if (rectangle) {
      const { x, y, width, height } = rectangle;
      this.#box.style.left = `${x * 100}%`;
      this.#box.style.top = `${y * 100}%`;
      this.#box.style.width = `${width * 100}%`;
      this.#box.style.height = `${height * 100}%`;
    }
    this.#tell(rectangle !== null);
  }

  #start(event) {
    const draws = this.#drawing || (this.mouseDraws && event.pointerType !== "touch");
    if (event.button !== 0 || !draws) return;
    event.preventDefault();
    const from = this.#place(event);
    const move = (moved) => {
      const to = this.#place(moved);
      const width = Math.abs(to.x - from.x);
      const height = Math.abs(to.y - from.y);
      const large = width >= SMALLEST && height >= SMALLEST;
      this.#set(large ? { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), width, height } : null);
    };
    const end = () => this.#frame.removeEventListener("pointermove", move);
    this.clear();
    this.#frame.setPointerCapture(event.pointerId);
    this.#frame.addEventListener("pointermove", move);
    this.#frame.addEventListener("pointerup", end, { once: true });
    this.#frame.addEventListener("pointercancel", end, { once: true });
  }

  #place({ clientX, clientY }) {
    const { left, top, width, height } = this.#frame.getBoundingClientRect();
    return { x: clamp((clientX - left) / width, 0, 1), y: clamp((clientY - top) / height, 0, 1) };
  }
}

/** An element that shows just the part of a picture that a region's text names. */
export function cropped(source, region) {
  const image = el("img", { src: source, alt: "" });
  const frame = el("span", { className: "crop" }, image);
  const numbers = region?.split(",").map(parseFloat) ?? [];
  if (numbers.length !== 4 || numbers.some((number) => !Number.isFinite(number))) return frame;
  const [x, y, width, height] = numbers;
  frame.classList.add("part");
  image.addEventListener("load", () => {
    const ratio = (image.naturalWidth * width) / (image.naturalHeight * height);
    frame.style.aspectRatio = clamp(ratio, 0.4, 2.5);
  });
  image.style.width = `${10000 / width}%`;
  image.style.height = `${10000 / height}%`;
  image.style.left = `${(-100 * x) / width}%`;
  image.style.top = `${(-100 * y) / height}%`;
  return frame;
}
