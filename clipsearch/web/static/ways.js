/** Ways into a library before anything is asked: what was asked lately, and what photos show. */

import * as api from "./api.js";
import { byId, el, keepFocus } from "./dom.js";
import { count, figure } from "./words.js";

const MOST = 8; // questions
const KEY = "asked";

export class Ways {
  #ask;
  #labels = null; // {label, photos}, that of most photos first; null until the server has told

  /** @param {(words: string) => void} ask what to do with words that are chosen */
  constructor(ask) {
    this.#ask = ask;
    byId("ways-forget").addEventListener("click", () => {
      localStorage.removeItem(KEY);
      this.#draw();
      byId("words").focus();
    });
    byId("ways-label").addEventListener("click", () => this.#label());
    this.#draw();
  }

  /** Ask the server for labels. */
  async offer() {
    try {
      this.#labels = (await api.labels()).labels;
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error; // of the server's state, server.js tells
    }
    this.#draw();
  }

  /** Keep words that were asked, before those that were asked earlier. */
  remember(words) {
    if (!words) return;
    const others = lately().filter((other) => other.toLowerCase() !== words.toLowerCase());
    localStorage.setItem(KEY, JSON.stringify([words, ...others].slice(0, MOST)));
    this.#draw();
  }

  /** Show them where nothing is asked, and there are photos. */
  show(fits) {
    byId("ways").hidden = !fits;
  }

  #draw() {
    const questions = lately();
    byId("ways-lately").hidden = questions.length === 0;
    keepFocus(() => {
      byId("lately").replaceChildren(...questions.map((words) => this.#way(words)));
    }, byId("photos"));
    const labels = this.#labels ?? [];
    byId("ways-label").hidden = this.#labels === null || labels.length > 0;
    byId("labels").replaceChildren(...labels.map(({ label, photos }) => this.#way(label, photos)));
  }

  #way(words, photos) {
    return el("li", {}, el("button", {
      type: "button", className: "pill", onclick: () => this.#ask(words),
      ariaLabel: photos === undefined ? null : `${words}, ${count(photos)}`,
    }, words, photos === undefined ? null : el("small", {}, figure(photos))));
  }

  /** Have the server find out what the photos show. */
  async #label() {
    const button = byId("ways-label");
    if (button.ariaDisabled) return; // it keeps the focus meanwhile
    const text = button.textContent;
    button.ariaDisabled = "true";
    button.textContent = "Looking at what they show; this takes a minute or two, once";
    try {
      this.#labels = (await api.makeLabels()).labels;
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      button.textContent = `${error.message}. Try again`;
      return;
    } finally {
      button.ariaDisabled = null;
    }
    button.textContent = text;
    this.#draw();
    byId("labels").querySelector("button")?.focus();
  }
}

function lately() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return kept.filter((words) => typeof words === "string");
  } catch {
    return []; // something else wrote there
  }
}
