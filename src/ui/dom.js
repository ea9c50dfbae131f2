// Makes elements, and updates lists of them in place.
// In: tags, attributes, children. Out: nodes.
// Never: markup from text; what comes from a server becomes text nodes and attributes.

/** What the page has from the start. */
export function byId(id) {
  return document.getElementById(id);
}

/** An element. Attributes that are undefined or false are left out; children that are undefined too. */
export function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== undefined));
  return node;
}

/** Sets text only where it is new: a live region speaks at every change of its nodes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes the children of `parent` those of `items`. A child stays for as long as its key does, so that focus,
 * selection and scrolling outlive the update of each second.
 */
export function keyed(parent, items, keyOf, make, update) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : undefined;
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const node = old.get(key) ?? make(item);
    old.delete(key);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  const stay = new Set(wanted);
  for (const child of [...parent.children]) if (!stay.has(child)) child.remove();
  wanted.forEach((node, place) => {
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] ?? null);
  });
  // A node that is moved loses the focus.
  if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
}
