/** What is waited for, said as soon as it takes long enough to wonder. */

import { byId } from "./dom.js";

const LONG = 500; // milliseconds

export class Waiting {
  #begun;
  #timer = 0;

  /** @param {() => {title: string, text: string}} begun what to say, when it has taken long */
  constructor(begun) {
    this.#begun = begun;
  }

  /** Something is waited for; the time counts from the first of several such calls. */
  begin() {
    if (this.#timer === 0) this.#timer = setTimeout(() => this.#show(), LONG);
    else if (!byId("waiting").hidden) this.#show();
  }

  /** Nothing is waited for any more. */
  end() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    byId("waiting").hidden = true;
  }

  #show() {
    const { title, text } = this.#begun();
    byId("waiting").hidden = false; // before the words: a change is what a screen reader tells
    byId("waiting-title").textContent = title;
    byId("waiting-text").textContent = text;
  }
}
