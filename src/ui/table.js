// A table whose rows stay in place while their cells change.
// In: columns and items. Out: an element, and `show` to fill it. Never: a table without rows; it says why there are none.

import { el, keyed, setText } from './dom.js';

/**
 * `columns`: {head, cell(item), num}, where a cell is text or a node; `keyOf(item)` names a row;
 * `none` is said where there is nothing to show.
 */
export function table(caption, columns, keyOf, none) {
  const rows = el('tbody');
  const heads = columns.map((column) => el('th', { scope: 'col', class: column.num && 'num' }, column.head));
  const whole = el('table', {}, el('caption', {}, caption), el('thead', {}, el('tr', {}, ...heads)), rows);
  const scroll = el('div', { class: 'scroll', hidden: true }, whole);
  const nothing = el('p', { class: 'quiet' }, none);

  const make = () => el('tr', {}, ...columns.map((column) => el('td', { class: column.num && 'num' })));
  const update = (row, item) => {
    columns.forEach((column, place) => put(row.children[place], column.cell(item)));
  };
  const show = (items) => {
    scroll.hidden = items.length === 0;
    nothing.hidden = items.length > 0;
    keyed(rows, items, keyOf, make, update);
    columns.forEach((_, place) => hideIfEmpty(place));
  };
  // Most locks need few of the columns; what nobody has takes no room.
  const hideIfEmpty = (place) => {
    const cells = [...rows.children].map((row) => row.children[place]);
    const empty = cells.every((cell) => cell.textContent === '');
    for (const cell of [heads[place], ...cells]) cell.hidden = empty;
  };
  return { node: el('div', {}, nothing, scroll), show };
}

function put(cell, content) {
  if (!(content instanceof Node)) return setText(cell, String(content ?? ''));
  // An equal node that stays keeps the focus.
  if (cell.childNodes.length !== 1 || !cell.firstChild.isEqualNode(content)) cell.replaceChildren(content);
}
