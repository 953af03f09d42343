/** Elements made in JavaScript: text is always text, so no name or caption can become markup. */

/**
 * A new element. Properties named `on...` are listeners, those that the element has are set, and
 * all others become attributes; `null` and `undefined` are left out, as are such children.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A new element of a drawing, with its attributes. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** One of the page's icons, which index.html holds as symbols. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** The element with that id. */
export const byId = (id) => document.getElementById(id);

/** The number, or the nearest end of the range if it lies outside. */
export const clamp = (number, low, high) => Math.min(Math.max(number, low), high);

/** Do what may take away or disable the element that has the focus; put the focus elsewhere then. */
export function keepFocus(change, elsewhere) {
  const had = document.activeElement;
  change();
  if (had === null || had === document.body) return;
  if (!had.isConnected || had.disabled || !had.checkVisibility()) elsewhere.focus({ preventScroll: true });
}

/** Put a text on the clipboard. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain HTTP from another machine has no clipboard interface; the old way still works.
    const box = el("textarea", { className: "unseen", value: text, ariaHidden: "true" });
    const focused = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(box); // what is outside is inert
    box.select();
    document.execCommand("copy");
    box.remove();
    focused?.focus({ preventScroll: true });
  }
}
