// The market: open orders of each resource by price, one tile per order, and the latest trades.

const BID_SIDE = 1;
const SHOWN_TRADES = 5;

function makeMarket(episode, books, tape) {
  const highest = [...episode.orderPrice, ...episode.tradePrice].reduce((a, b) => Math.max(a, b), 10);
  const drawings = episode.resources.map((name, resource) => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    books.append(canvas);
    return { name, resource, canvas };
  });

  function draw(state, colors) {
    for (const book of drawings) drawBook(book, state, colors);
    fillTape(state, colors);
  }

  function drawBook({ name, resource, canvas }, state, colors) {
    const { context, width, height } = fit(canvas);
    const left = 66, column = (width - left) / (highest + 1), axis = Math.round(height / 2);
    const wide = Math.min(20, column - 4), room = axis - 12;
    drawResource(context, resource, 0, axis - 9, 18, colors.resources[resource % 2]);
    write(context, name, 22, axis, { color: colors.ink, size: 12, weight: 600, base: "middle" });
    write(context, "Asks", 22, axis - 24, { color: colors.muted, base: "middle" });
    write(context, "Bids", 22, axis + 24, { color: colors.muted, base: "middle" });
    const [from, to] = episode.eventsBetween(episode.tradeStep, 1, state);
    let last = -1;
    for (let i = from; i < to; i++) if (episode.tradeResource[i] === resource) last = episode.tradePrice[i];
    for (let price = 0; price <= highest; price++) {
      const x = left + (price + 0.5) * column;
      if (price === last) {
        context.fillStyle = colors.faint;
        context.beginPath();
        context.roundRect(x - Math.min(11, column / 2), axis - 8, Math.min(22, column), 16, 8);
        context.fill();
      }
      write(context, String(price), x, axis + 0.5, {
        color: price === last ? colors.ink : colors.muted, weight: price === last ? 700 : 400, align: "center", base: "middle",
      });
    }
    const piles = [new Map(), new Map()]; // of bids and of asks, by price
    let [bids, asks] = [0, 0];
    for (const i of episode.openOrders(state)) {
      if (episode.orderResource[i] !== resource) continue;
      const isBid = episode.orderSide[i] === BID_SIDE, pile = piles[isBid ? 0 : 1], price = episode.orderPrice[i];
      pile.set(price, [...(pile.get(price) ?? []), episode.orderWorker[i]]);
      isBid ? bids++ : asks++;
    }
    piles.forEach((pile, side) => pile.forEach((workers, price) => {
      const pitch = Math.min(8, room / workers.length), tall = Math.max(1, pitch - 1.25);
      const x = left + (price + 0.5) * column - wide / 2;
      workers.forEach((worker, rank) => {
        context.fillStyle = colors.workers[worker];
        context.beginPath();
        context.roundRect(x, side === 0 ? axis + 10 + rank * pitch : axis - 10 - tall - rank * pitch, wide, tall, Math.min(2, tall / 3));
        context.fill();
      });
    }));
    canvas.setAttribute("aria-label", `${name}: ${bids} open bids, ${asks} open asks, ${last < 0 ? "no trade yet" : `last price ${last} coin`}`);
  }

  function fillTape(state, colors) {
    const [, end] = episode.eventsBetween(episode.tradeStep, 1, state);
    const items = [];
    for (let i = end - 1; i >= Math.max(0, end - SHOWN_TRADES); i--) {
      const item = document.createElement("li"), who = document.createElement("span");
      item.className = episode.tradeStep[i] === state ? "now" : "";
      who.className = "who";
      who.append(
        makeDot(episode, episode.tradeSeller[i], colors), "→", makeDot(episode, episode.tradeBuyer[i], colors),
        episode.resources[episode.tradeResource[i]]);
      item.append(text("span", WHOLE.format(episode.tradeStep[i])), who, text("span", `${episode.tradePrice[i]} coin`));
      items.push(item);
    }
    if (!items.length) items.push(text("li", "none yet"));
    tape.replaceChildren(...items);
  }

  return { draw };
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}
