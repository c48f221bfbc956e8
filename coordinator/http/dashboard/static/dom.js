// Makes elements, and changes the page to what it should show. No text becomes markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "polyline", "rect", "title"]);

/** Make an element. `attributes` that are null, undefined or false are left out; children may be nested lists. */
export function h(tag, attributes = {}, ...children) {
  const isSvg = SVG_TAGS.has(tag);
  const element = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/**
 * Make the children of `element` equal to those of `wanted`, and change only what differs.
 *
 * Nodes stay where they are, and so do focus, selection and scroll position. Children with `data-key` are matched by it.
 */
export function morph(element, wanted) {
  const keyed = new Map();
  for (const child of element.children) {
    if (child.dataset?.key !== undefined) keyed.set(child.dataset.key, child);
  }
  let place = element.firstChild;
  for (const next of [...wanted.childNodes]) {
    const key = next.dataset?.key;
    let found = key === undefined ? (isFree(place) ? place : null) : keyed.get(key);
    if (found && !isAlike(found, next)) found = null;
    if (!found) {
      element.insertBefore(next, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else element.insertBefore(found, place);
    if (key !== undefined) keyed.delete(key);
    update(found, next);
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

const isFree = (node) => node !== null && node.dataset?.key === undefined;
const isAlike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

function update(found, next) {
  if (found.nodeType !== Node.ELEMENT_NODE) {
    if (found.data !== next.data) found.data = next.data;
    return;
  }
  for (const { name } of [...found.attributes]) {
    if (!next.hasAttribute(name) && !(name === "open" && found.tagName === "DETAILS")) found.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (found.getAttribute(name) !== value) found.setAttribute(name, value);
  }
  morph(found, next);
}
