/** The answers to one question, fetched a page at a time. */

import * as api from "./api.js";
import { isAsked } from "./question.js";

const FIRST = 60; // photos: more than two screens, and quickly answered
const FURTHER = 120;

/** From this relevance on a photo is more likely to fit than not. */
export const CERTAIN = 0.5;

export class Answers {
  hits = [];
  total = null; // photos that the filters leave
  complete = false;
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

  /** The number of hits that stand out, which come first; null where nothing tells. */
  get certain() {
    if (!isAsked(this.question) || this.hits.length === 0) return null;
    if (this.hits.some((hit) => typeof hit.relevance !== "number")) return null;
    const first = this.hits.findIndex((hit) => hit.relevance < CERTAIN);
    return first < 0 ? this.hits.length : first;
  }

  async #fetch() {
    if (this.complete) return;
    const k = this.#offset === 0 ? FIRST : FURTHER;
    const { signal } = this.#stop;
    const page = await api.search(this.question, this.pictures, { offset: this.#offset, k, signal });
    this.#offset += page.hits.length;
    this.total = page.total;
    this.complete = page.hits.length < k || (page.total !== null && this.#offset >= page.total);
    // The library may have changed between two pages, so that a photo comes twice.
    for (const hit of page.hits) {
      if (!this.#ids.has(hit.id)) this.hits.push(hit);
      this.#ids.add(hit.id);
    }
  }
}
