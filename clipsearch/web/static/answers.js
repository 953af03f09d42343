/** The answers to one question, fetched a page at a time. */

import * as api from "./api.js";
import { isAsked, isWords } from "./question.js";

const FIRST = 60; // photos: more than two screens, and quickly answered
const FURTHER = 120;

/** From this relevance on a photo is more likely to fit than not. */
const CERTAIN = 0.5;
/** Where the best answer to a question in words is below, nothing fits. */
const NOTHING = 0.3;

/** Whether an answer stands out; null where nothing tells, as for photos that were not asked for. */
export const standsOut = ({ relevance, written }) =>
  written === 1 || (typeof relevance === "number" ? relevance >= CERTAIN : null);

export class Answers {
  hits = [];
  total = null; // photos that the filters leave
  complete = false;
  /**
   * How many of the hits come before the less certain ones: up to the last that stands out, since
   * what is written lifts photos past others. Null where nothing tells.
   */
  certain = null;
  nothing = false; // whether no photo seems to fit
  none = null; // why a question found no photo at all: {reason, nowhere}
  scroll = 0; // where the page was when it was left

  #ids = new Set();
  #offset = 0;
  #running = null;
  #stop = new AbortController();

  /**
   * @param {import("./question.js").Question} question
   * @param {Blob[]} pictures
   */
  constructor(question, pictures) {
    this.question = question;
    this.pictures = pictures;
  }

  /** Fetch the next page, unless that is being done; an answer that comes late is dropped. */
  more() {
    this.#running ??= this.#fetch().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Whether a page is being fetched. */
  get busy() {
    return this.#running !== null;
  }

  /** Give up what is being fetched. */
  stop() {
    this.#stop.abort();
    this.#stop = new AbortController();
  }

  async #fetch() {
    if (this.complete) return;
    const k = this.#offset === 0 ? FIRST : FURTHER;
    const open = this.certain === this.hits.length; // the less certain ones have not begun
    const { signal } = this.#stop;
    const page = await api.search(this.question, this.pictures, { offset: this.#offset, k, signal });
    this.#offset += page.hits.length;
    this.total = page.total;
    this.none = page.nothing ?? null;
    this.complete = page.hits.length < k || (page.total !== null && this.#offset >= page.total);
    // The library may have changed between two pages, so that a photo comes twice.
    for (const hit of page.hits) {
      if (!this.#ids.has(hit.id)) this.hits.push(hit);
      this.#ids.add(hit.id);
    }
    if (k === FIRST || open) this.certain = this.#countCertain();
    if (k === FIRST) this.nothing = this.certain === 0 && !this.#mayFit();
  }

  #mayFit() {
    return isWords(this.question) && this.hits.some(({ relevance }) => relevance >= NOTHING);
  }

  #countCertain() {
    if (this.hits.length === 0 || this.hits.some((hit) => standsOut(hit) === null)) return null;
    return this.hits.findLastIndex(standsOut) + 1;
  }
}
