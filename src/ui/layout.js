// Places the nodes of a graph in columns, so that arrows run from left to right. Pure.
// In: nodes {id, width, height}, edges {from, to, ranks}, the width there is. Out: a place for each node, and the
// size of all.
// Never: a node on another; a different picture for the same graph.

const GAP = { x: 64, y: 14 };
// Round each part; arrows that run round a column or back below take some of it.
const MARGIN = { side: 24, top: 8, bottom: 24 };
const SWEEPS = 4;

/** An edge with `ranks: false` is drawn but does not decide in which column its ends are. */
export function layout(nodes, edges, room) {
  const at = new Map();
  let [left, top, bottom, width] = [0, 0, 0, 0];
  for (const part of parts(nodes, edges)) {
    const placed = placePart(part, edges);
    // Parts stand side by side, as words do in a text.
    if (left > 0 && left + placed.width > room) [left, top] = [0, bottom];
    for (const [id, { x, y, ...more }] of placed.at) at.set(id, { x: x + left, y: y + top, ...more });
    left += placed.width;
    width = Math.max(width, left);
    bottom = Math.max(bottom, top + placed.height);
  }
  return { at, width, height: bottom };
}

/** One connected part, as if it were alone. */
function placePart(nodes, edges) {
  const at = new Map();
  const columns = ordered(nodes, edges, ranks(nodes, edges));
  const heights = columns.map((column) => column.reduce((sum, node) => sum + node.height + GAP.y, -GAP.y));
  const tallest = Math.max(...heights);
  let x = MARGIN.side;
  columns.forEach((column, place) => {
    let y = MARGIN.top + (tallest - heights[place]) / 2;
    for (const { id, width, height } of column) {
      at.set(id, { x, y, column: place, width, height });
      y += height + GAP.y;
    }
    x += Math.max(...column.map((node) => node.width)) + GAP.x;
  });
  return { at, width: x - GAP.x + MARGIN.side, height: MARGIN.top + tallest + MARGIN.bottom };
}

/** The connected parts, the largest first. */
function parts(nodes, edges) {
  const near = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to } of edges) {
    near.get(from).push(to);
    near.get(to).push(from);
  }
  const seen = new Set();
  const found = [];
  for (const node of nodes) {
    const part = new Set();
    const open = [node.id];
    while (open.length > 0) {
      const id = open.pop();
      if (seen.has(id)) continue;
      seen.add(id);
      part.add(id);
      open.push(...near.get(id));
    }
    if (part.size > 0) found.push(nodes.filter(({ id }) => part.has(id)));
  }
  return found.sort((a, b) => b.length - a.length);
}

/**
 * The column of each node: as far left of the last one as the longest way there is long. So those that wait are
 * right beside what they wait for. An edge that closes a cycle counts for nothing.
 */
function ranks(nodes, edges) {
  const next = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to, ranks: counts } of edges) if (counts !== false) next.get(from)?.push(to);
  const height = new Map();
  const under = new Set();
  const visit = (id) => {
    if (!height.has(id)) {
      under.add(id);
      const ways = next.get(id).filter((to) => !under.has(to)).map((to) => visit(to) + 1);
      under.delete(id);
      height.set(id, Math.max(0, ...ways));
    }
    return height.get(id);
  };
  for (const { id } of nodes) visit(id);
  const tallest = Math.max(...height.values());
  return new Map([...height].map(([id, own]) => [id, tallest - own]));
}

/** The columns, each ordered by where its neighbours are; equals keep the order in which they came. */
function ordered(nodes, edges, rank) {
  const columns = [];
  for (const node of nodes) (columns[rank.get(node.id)] ??= []).push(node);
  const near = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to, ranks: counts } of edges) {
    if (counts === false || !near.has(from)) continue;
    near.get(from).push(to);
    near.get(to).push(from);
  }
  const place = new Map();
  const number = (column) => column.forEach((node, row) => place.set(node.id, row - column.length / 2));
  columns.forEach(number);
  const middle = ({ id }) => {
    const rows = near.get(id).map((other) => place.get(other));
    return rows.length === 0 ? place.get(id) : rows.reduce((sum, row) => sum + row, 0) / rows.length;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const column of sweep % 2 === 0 ? columns : columns.toReversed()) {
      const wanted = new Map(column.map((node) => [node, middle(node)]));
      column.sort((a, b) => wanted.get(a) - wanted.get(b));
      number(column);
    }
  }
  return columns;
}
