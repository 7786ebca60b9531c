// The map: ground and water, sources and units, houses, workers on the move, trades as they happen.

const MOST_FLASHES = 14;

function makeWorld(episode, canvas) {
  const { height, width, numWorkers } = episode;
  const cells = height * width;
  let cell = 10, ground = null, colors = null;

  function resize(newColors) {
    colors = newColors;
    const stage = canvas.parentElement;
    const room = Math.min(sizeOf(stage).width, roomForHeight() * (width / height));
    const ratio = window.devicePixelRatio || 1;
    // Whole pixels for each cell, so that no edge is blurred.
    cell = Math.max(3, Math.floor((room * ratio) / width)) / ratio;
    canvas.style.width = `${cell * width}px`;
    canvas.style.height = `${cell * height}px`;
    ground = document.createElement("canvas");
    drawGround(fit(ground, cell * width, cell * height).context);
  }

  // On wide screens the whole map fits above the player; narrow ones scroll anyway.
  function roomForHeight() {
    if (innerWidth < 760) return Infinity;
    return Math.max(320, innerHeight - sizeOf(canvas).top - scrollY - 150);
  }

  function drawGround(context) {
    const { ground: earth, grid, water, wave } = colors.terrain;
    context.fillStyle = earth;
    context.fillRect(0, 0, cell * width, cell * height);
    const line = 1 / (window.devicePixelRatio || 1);
    context.fillStyle = grid;
    for (let i = 1; i < width; i++) context.fillRect(i * cell, 0, line, cell * height);
    for (let i = 1; i < height; i++) context.fillRect(0, i * cell, cell * width, line);
    context.lineWidth = Math.max(1, cell * 0.06);
    context.strokeStyle = wave;
    for (let place = 0; place < cells; place++) {
      const x = (place % width) * cell, y = Math.floor(place / width) * cell;
      if (episode.water[place]) {
        context.fillStyle = water;
        context.fillRect(x, y, cell, cell);
        for (const v of [0.36, 0.68]) {
          context.beginPath();
          context.moveTo(x + 0.18 * cell, y + v * cell);
          context.bezierCurveTo(x + 0.38 * cell, y + (v - 0.14) * cell, x + 0.6 * cell, y + (v + 0.14) * cell, x + 0.82 * cell, y + v * cell);
          context.stroke();
        }
      }
      for (let kind = 0; kind < episode.numResources; kind++) {
        if (!episode.sources[kind * cells + place]) continue;
        context.globalAlpha = 0.2; // an empty source: where the resource will grow again
        drawResource(context, kind, x, y, cell, colors.resources[kind % 2]);
        context.globalAlpha = 1;
      }
    }
  }

  // Centre of a worker at a time between two states.
  function centre(worker, time) {
    const state = Math.floor(time), next = Math.min(state + 1, episode.numSteps);
    const [a, b] = [episode.value(episode.cell, state, worker), episode.value(episode.cell, next, worker)];
    const part = time - state, eased = part * part * (3 - 2 * part);
    const mix = (from, to) => from + (to - from) * eased;
    return [
      (mix(a % width, b % width) + 0.5) * cell,
      (mix(Math.floor(a / width), Math.floor(b / width)) + 0.5) * cell,
    ];
  }

  // `time` is a state, or lies between two; `memory` is for how many states an event stays in sight.
  function draw(time, memory, selected) {
    const state = Math.floor(time);
    const { context } = fit(canvas, cell * width, cell * height);
    context.drawImage(ground, 0, 0, cell * width, cell * height);
    const units = episode.resourcesAt(state), owners = episode.ownersAt(state);
    for (let place = 0; place < cells; place++) {
      const x = (place % width) * cell, y = Math.floor(place / width) * cell;
      for (let kind = 0; kind < episode.numResources; kind++) {
        if (units[kind * cells + place]) drawResource(context, kind, x, y, cell, colors.resources[kind % 2]);
      }
      if (owners[place] >= 0) {
        context.globalAlpha = selected >= 0 && owners[place] !== selected ? 0.35 : 1;
        drawHouse(context, x, y, cell, colors.workers[owners[place]], colors.terrain.ground);
        context.globalAlpha = 1;
      }
    }
    drawBuilding(context, time, memory);
    drawTrades(context, time, memory);
    for (let worker = 0; worker < numWorkers; worker++) {
      const [x, y] = centre(worker, time);
      context.globalAlpha = selected >= 0 && worker !== selected ? 0.4 : 1;
      drawWorker(context, x, y, cell * 0.38, colors.workers[worker], String(worker), colors.panel);
      context.globalAlpha = 1;
    }
  }

  // Calls `draw(event, strength)` for each event still in sight; strength falls from 1 to 0.
  function recent(steps, time, memory, drawEvent) {
    const [from, to] = episode.eventsBetween(steps, Math.max(1, Math.floor(time - memory) + 1), Math.floor(time));
    for (let i = Math.max(from, to - MOST_FLASHES); i < to; i++) {
      drawEvent(i, 1 - Math.max(0, time - steps[i]) / memory);
    }
  }

  function drawBuilding(context, time, memory) {
    recent(episode.houseStep, time, memory, (i, strength) => {
      const place = episode.houseCell[i];
      context.strokeStyle = colors.workers[episode.houseOwner[i]];
      context.globalAlpha = strength;
      context.lineWidth = cell * 0.12;
      context.beginPath();
      const [x, y] = [((place % width) + 0.5) * cell, (Math.floor(place / width) + 0.5) * cell];
      context.arc(x, y, cell * (1.5 - 0.75 * strength), 0, 2 * Math.PI);
      context.stroke();
      context.globalAlpha = 1;
    });
  }

  // The unit goes from seller to buyer along an arc, under the price.
  function drawTrades(context, time, memory) {
    recent(episode.tradeStep, time, memory, (i, strength) => {
      const [ax, ay] = centre(episode.tradeSeller[i], time), [bx, by] = centre(episode.tradeBuyer[i], time);
      const kind = episode.tradeResource[i];
      // Bent towards the middle of the map, so that the arc stays in it.
      const [mx, my] = [(ax + bx) / 2, (ay + by) / 2];
      const inwards = (by - ay) * (cell * width / 2 - mx) - (bx - ax) * (cell * height / 2 - my);
      const bend = inwards < 0 ? -0.18 : 0.18;
      const [cx, cy] = [mx + (by - ay) * bend, my - (bx - ax) * bend];
      context.globalAlpha = Math.min(1, strength * 1.6);
      context.strokeStyle = colors.ink;
      context.lineWidth = Math.max(1.25, cell * 0.07);
      context.setLineDash([cell * 0.25, cell * 0.2]);
      context.beginPath();
      context.moveTo(ax, ay);
      context.quadraticCurveTo(cx, cy, bx, by);
      context.stroke();
      context.setLineDash([]);
      const size = Math.min(20, Math.max(14, cell * 0.8)), pill = size * 2.1;
      const within = (value, margin, end) => Math.min(end - margin, Math.max(margin, value));
      const x = within((ax + 2 * cx + bx) / 4, pill / 2 + 1, cell * width), y = within((ay + 2 * cy + by) / 4, size, cell * height);
      context.fillStyle = colors.panel;
      context.strokeStyle = colors.muted;
      context.lineWidth = 1;
      context.beginPath();
      context.roundRect(x - pill / 2, y - size * 0.65, pill, size * 1.3, size * 0.65);
      context.fill();
      context.stroke();
      drawResource(context, kind, x - pill / 2 + size * 0.18, y - size * 0.5, size, colors.resources[kind % 2]);
      write(context, String(episode.tradePrice[i]), x + pill * 0.22, y, {
        color: colors.ink, size: Math.max(10, size * 0.72), weight: 700, align: "center", base: "middle",
      });
      context.globalAlpha = 1;
    });
  }

  return { resize, draw };
}

// What the signs on the map mean.
function fillLegend(episode, list, colors) {
  const entries = episode.resources.map((name, kind) => [name, (c) => drawResource(c, kind, 0, 0, 16, colors.resources[kind % 2])]);
  entries.push(["empty source", (c) => { c.globalAlpha = 0.3; drawResource(c, 1, 0, 0, 16, colors.resources[1]); }]);
  entries.push(["house, owner's color", (c) => drawHouse(c, 0, 0, 16, colors.workers[0], colors.panel)]);
  entries.push(["worker", (c) => drawWorker(c, 8, 8, 6.5, colors.workers[0], "0", colors.panel)]);
  if (episode.water.some(Boolean)) {
    entries.push(["water", (c) => { c.fillStyle = colors.terrain.water; c.fillRect(1, 2, 14, 12); }]);
  }
  list.replaceChildren(...entries.map(([name, drawSign]) => {
    const item = document.createElement("li"), sign = document.createElement("canvas");
    drawSign(fit(sign, 16, 16).context);
    item.append(sign, name);
    return item;
  }));
}
